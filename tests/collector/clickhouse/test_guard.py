"""What passes the guard, and what does not: each way out that anybody has found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.collector.clickhouse.asking import SECRET, Ask

from wattshed_collector.clickhouse.errors import Problem

PASSES = {
    "SELECT 1": b"[1]\n",
    "select 1 -- '; drop table tick": b"[1]\n",
    "/* ) */ (SELECT 1);": b"[1]\n",
    "SELECT ';)', '--', '/*'": b'[";)", "--", "\\/*"]\n',
    "SELECT 1 UNION ALL SELECT 2": b"[1]\n[2]\n",
    "WITH a AS (SELECT 1 AS b) SELECT b IN a, b FROM a": b"[1, 1]\n",
    "WITH 2 AS x SELECT x + 1 AS y ORDER BY y LIMIT 1": b"[3]\n",
    "SELECT arrayMap(x -> x + 1, [1, 2]), sumIf(1, 1), quantile(0.5)(3)": b"[[2,3], 1, 3]\n",
    "SELECT a::Int8, CAST('1' AS Nullable(Float64)) FROM (SELECT 1 AS a)": b"[1, 1]\n",
    "SELECT n FROM (SELECT arrayJoin(range(5)) AS n) WHERE n IN (SELECT 3)": b"[3]\n",
    "SELECT count() FROM v_live WHERE toDateTime(ts) IN v_slo_now": b"[0]\n",
    "SELECT 0 IN system.one, 1 GLOBAL NOT IN system.one": b"[1, 1]\n",
    "SELECT x, sum(x) OVER (ORDER BY x) FROM (SELECT arrayJoin([1, 2]) AS x)": b"[1, 1]\n[2, 3]\n",
    "SELECT * EXCEPT (a) FROM (SELECT 1 AS a, 2 AS b)": b"[2]\n",
    "SELECT dummy FROM system.one": b"[0]\n",
    "SELECT name FROM system.databases": b'["default"]\n',
    "SELECT t.name FROM system.tables AS t WHERE t.name = 'v_live'": b'["v_live"]\n',
    "SELECT type FROM system.columns WHERE table = 'v_live' AND name = 'node'": (
        b'["LowCardinality(String)"]\n'
    ),
    "SHOW DATABASES": b'["default"]\n',
    'EXISTS "default"."v_live"': b"[1]\n",
    "EXISTS TABLE tick": b"[0]\n",
    "SELECT count() > 0 FROM system.functions WHERE name = 'sum'": b"[1]\n",
}
PANELS = (
    "SELECT toStartOfInterval(t, INTERVAL 300 second) AS time, class, sum(joules) / 300 AS watts "
    "FROM v_energy_1m WHERE t >= toDateTime(1700000000) AND t <= toDateTime(1700086400) AND "
    "(1=1) AND (team IN ('a','it\\'s')) GROUP BY time, class ORDER BY time, class",
    "SELECT team, sum(joules) / 3.6e6 AS kwh, sum(cost) AS money FROM v_energy_1h "
    "WHERE $f GROUP BY team HAVING kwh > 0 ORDER BY kwh DESC LIMIT 10".replace("$f", "1"),
    "SELECT toStartOfHour(t) AS time, sum(joules) AS j FROM v_energy_1h GROUP BY time "
    "ORDER BY time WITH FILL STEP 3600",
    "SELECT e.node, any(d.model) FROM v_energy_1h AS e LEFT JOIN v_device AS d ON d.device = "
    "e.device GROUP BY ALL",
    "SELECT DISTINCT arrayJoin(mapKeys(labels)) AS keys FROM (SELECT * FROM "
    '"default"."v_metric" LIMIT 1000) LIMIT 1000',
    "SELECT slo, burn_long, multiIf(is_burning, 'burns', 'ok') FROM v_slo_burn",
    "SELECT node FROM v_energy_1h QUALIFY row_number() OVER (PARTITION BY node ORDER BY t) = 1",
    "WITH x AS (SELECT node, sum(joules) AS j FROM v_energy_1h GROUP BY node) "
    "SELECT node, j / (SELECT sum(j) FROM x) AS part FROM x ORDER BY j DESC LIMIT 5 BY node",
)
EDITOR = (
    "SELECT version()",
    'SHOW TABLES FROM "default"',
    'DESC TABLE "default"."v_live"',
    "SELECT name, type, table FROM system.columns WHERE database IN ('default')",
    "SELECT name FROM system.tables WHERE database = 'default' ORDER BY name",
    "SELECT name, is_aggregate, case_insensitive, alias_to, origin, description, syntax, "
    "arguments, returned_value, examples, categories FROM system.functions LIMIT 100",
    "SELECT name FROM system.databases ORDER BY name",
)
"""As grafana/clickhouse-datasource v4.20 writes them (src/data/CHDatasource.ts)."""
TRICKS = (
    "SELECT 1 a) INTO OUTFILE '/tmp/x'; SELECT (1",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO/**/OUTFILE '/tmp/x' TRUNCATE FORMAT TSV",
    "SELECT * FROM (SELECT 1 INTO OUTFILE '/tmp/x')",
    "SELECT 1; SELECT 2",
    "SELECT 1;; DROP TABLE hidden",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "INSERT INTO hidden SELECT 'x'",
    "INSERT INTO FUNCTION file('/tmp/x') SELECT 1",
    "DROP TABLE hidden",
    "CREATE TABLE x (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE x (a Int8)",
    "ALTER TABLE hidden DELETE WHERE 1",
    "TRUNCATE TABLE hidden",
    "OPTIMIZE TABLE hidden",
    "SET readonly = 0",
    "USE system",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "BACKUP TABLE hidden TO File('x')",
    "ATTACH TABLE hidden",
    "GRANT ALL ON *.* TO default",
    "EXPLAIN SELECT 1",
    "EXPLAIN ESTIMATE SELECT * FROM hidden",
    "SHOW CREATE TABLE hidden",
    "SHOW PROCESSLIST",
    "DESCRIBE hidden",
    "DESCRIBE TABLE file('/etc/passwd')",
    "DESCRIBE (SELECT * FROM hidden)",
    "CHECK TABLE hidden",
)
TABLES = (
    "hidden", "default.hidden", "`hidden`", '"default"."hidden"', "tick", "migration",
    "system.settings_changes", "system.processes", "system.parts", "system.disks", "system.users",
    "system.numbers", "system.zeros", "system.query_log", "system.text_log", "system.errors",
    "system.build_options", "system.server_settings", "system.dictionaries",
    "information_schema.tables", "INFORMATION_SCHEMA.COLUMNS", "_temporary_and_external_tables.x",
    "{t:Identifier}", "{d:Identifier}.{t:Identifier}", "v_live STREAM",
)  # fmt: skip
CALLED = (
    "file('$f')", "`file`('$f')", "FILE('$f')", "url('http://127.0.0.1/')", "remote('a', b, c)",
    "s3('http://127.0.0.1/x')", "executable('x.sh', TSV, 'a Int8')", "Python(reader)",
    "input('a Int8')", "merge('default', '.*')", "loop('default', 'hidden')",
    "view(SELECT * FROM hidden)", "numbers(3)", "generateRandom('a Int8')", "zeros(3)",
    "cluster('default', system.one)", "dictionary('d')", "mysql('a', 'b', 'c', 'd', 'e')",
    "sqlite('x', 'y')", "values('a Int8', 1)", "null('a Int8')", "format(TSV, 'x')",
    "viewIfPermitted(SELECT 1 ELSE null('a Int8'))", "mergeTreeIndex('default', 'tick')",
    "fuzzQuery('SELECT 1')", "v_live(a = 1)", "fileCluster('c', 'x')",
)  # fmt: skip
SCALARS = (
    "file('$f')", "`file`('$f')", '"file"(\'$f\')', "File('$f')", "file({f:String})",
    "arrayMap(x -> file(x), ['$f'])", "if(1, file('$f'), '')", "(file('$f') AS x)",
    "concat('', file('$f'))", "arrayReduce('file', ['$f'])", "getSetting('readonly')",
    "getServerSetting('path')", "globalVariable('version')", "@@version", "currentUser()",
    "user()", "hostName()", "FQDN()", "displayName()", "uptime()", "serverUUID()", "tcpPort()",
    "getMacro('x')", "getServerPort('tcp_port')", "filesystemAvailable()", "buildId()",
    "dictGet('d', 'a', 1)", "dictHas('d', 1)", "joinGet('hidden', 'secret', 1)",
    "hasColumnInTable('default', 'hidden', 'secret')", "showCertificate()",
    "addressToLine(1)", "sleep(1)", "sleepEachRow(1)", "catboostEvaluate('$f', 1)",
    "evalMLMethod(1, 1)", "regionToName(1)", "zookeeperSessionUptime()", "currentProfiles()",
    "currentRoles()", "queryID()", "currentQueryID()", "transactionID()", "throwIf(1)",
    "aiGenerate('x')", "formatRow('TSV', 1)", "structureToProtobufSchema('a Int8')",
    "initializeAggregation('sum', 1)", "sumState(1)", "sumMerge(unhex('00'))",
    "finalizeAggregation(unhex('00'))", "CAST('x', 'AggregateFunction(sum, UInt8)')",
    "CAST('x' AS AggregateFunction(groupArray, String))", "JSONExtract('1', 'Dynamic')",
    "CAST('x', concat('Agg', 'regateFunction(sum, UInt8)'))", "{p:AggregateFunction(sum, UInt8)}",
    "parseQueryToJSON('SELECT 1')", "1 IN hidden", "1 IN (hidden)", "in('x', hidden)",
    "'x' NOT IN default.hidden", "'x' GLOBAL IN hidden", "nullIn('x', hidden)",
    "arrayFilter(x -> x IN hidden, ['x'])", "(SELECT secret FROM hidden)",
    "'x' IN system.processes", "JSONExtractKeysAndValues('1', 'JSON')",
    "exists(SELECT * FROM hidden)", "[(SELECT any(secret) FROM hidden)]", "$a.b(1)",
    "map('k', (SELECT secret FROM hidden))['k']", "count() FILTER (WHERE file('$f') != '')",
)  # fmt: skip
WHOLE = (
    "WITH hidden AS (SELECT 'x' AS secret) SELECT secret FROM hidden",
    "SELECT 1 IN hidden, (WITH hidden AS (SELECT 1) SELECT 1)",
    "WITH `default.hidden` AS (SELECT 1) SELECT 'x' IN default.hidden",
    "WITH `hidden` AS (SELECT 1) SELECT 'x' IN `hidden`",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "WITH file('$f') AS x SELECT x",
    "SELECT * APPLY(file) FROM (SELECT '$f' AS a)",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT '$f' AS a)",
    "SELECT COLUMNS('a') APPLY(file) FROM (SELECT '$f' AS a)",
    "SELECT * REPLACE (file(a) AS a) FROM (SELECT '$f' AS a)",
    "SELECT 1 AS x ORDER BY file('$f')",
    "SELECT 1 AS x GROUP BY file('$f')",
    "SELECT 1 LIMIT (SELECT length(file('$f')))",
    "SELECT sum(1) OVER (ORDER BY file('$f'))",
    "SELECT sum(1) OVER w WINDOW w AS (PARTITION BY file('$f'))",
    "SELECT 1 FROM v_live ARRAY JOIN [file('$f')] AS x",
    "SELECT 1 FROM v_live AS a JOIN v_live AS b ON a.node = file('$f')",
    "SELECT 1 FROM v_live AS a JOIN hidden AS b ON 1",
    "SELECT 1 FROM v_live, hidden",
    "SELECT 1 UNION ALL SELECT secret FROM hidden",
    "SELECT 1 EXCEPT SELECT secret FROM hidden",
    "SELECT 1 AS t ORDER BY t WITH FILL FROM 1 TO length(file('$f'))",
    "SELECT 1 FORMAT Template",
    "SELECT 1 FORMAT Native INTO OUTFILE '/tmp/x'",
    "SELECT (SELECT 1 FORMAT TSV)",
    "SELECT 1 SETTINGS readonly = 0, format_template_row = '$f'",
    "SELECT 1 SETTINGS max_memory_usage = 0, allow_ddl = 1",
    "SELECT (SELECT 1 SETTINGS max_execution_time = 1)",
    "SELECT 1 SETTINGS additional_table_filters = {'hidden': '1'}",
    "SELECT node FROM v_live SETTINGS additional_table_filters = {'v_live': 'file(\\'$f\\') = 1'}",
    "SELECT node FROM v_live SETTINGS additional_table_filters = {'v_live': '1) UNION SELECT (1'}",
    "SELECT node FROM v_live SETTINGS additional_table_filters = "
    "{'v_live': '1) SETTINGS readonly = 0 -- '}",
)


@pytest.mark.parametrize("sql", PASSES)
def test_passes(ask: Ask, sql: str) -> None:
    assert ask(sql).body == PASSES[sql]


@pytest.mark.parametrize("sql", PANELS)
def test_what_panels_ask_passes(ask: Ask, sql: str) -> None:
    assert ask(sql).rows == 0


@pytest.mark.parametrize("sql", EDITOR)
def test_what_the_editor_asks_is_answered(ask: Ask, sql: str) -> None:
    assert ask(sql).rows > 0


@pytest.mark.parametrize("sql", [*TRICKS, *WHOLE])
def test_refused(ask: Ask, secret: Path, sql: str) -> None:
    refused(ask, secret, sql)


@pytest.mark.parametrize("table", [*TABLES, *CALLED])
def test_nothing_else_is_read(ask: Ask, secret: Path, table: str) -> None:
    refused(ask, secret, f"SELECT * FROM (WITH v AS (SELECT 1 FROM {table}) SELECT * FROM v)")


@pytest.mark.parametrize("call", SCALARS)
def test_no_such_function_is_called(ask: Ask, secret: Path, call: str) -> None:
    refused(ask, secret, f"SELECT node FROM v_live WHERE 1 OR ({call}) = 1")


def refused(ask: Ask, secret: Path, sql: str) -> None:
    """Hold that the guard says no: the engine has not been asked for any row."""
    told = {"param_f": str(secret), "param_t": "hidden", "param_d": "default", "param_p": "x"}
    with pytest.raises(Problem) as error:
        ask(sql.replace("$f", str(secret)), **told)
    assert error.value.code in (36, 48, 60, 62, 73, 81, 115, 164, 306, 497), error.value.text()
    assert SECRET not in error.value.text()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH hidden AS v_live SELECT '$s' IN v_live",
        "WITH system.processes AS v_live SELECT '$s' IN v_live",
        "SELECT '$s' IN w, hidden AS w FROM (WITH w AS (SELECT 1) SELECT 1)",
        "WITH hidden AS w SELECT * FROM w WHERE (WITH w AS (SELECT 1) SELECT count() FROM w)",
        "WITH hidden AS w SELECT w IN ('$s') FROM v_live",
        "SELECT hidden IN (SELECT '$s')",
        "SELECT in(hidden, v_live), hidden.*",
    ],
)
def test_no_alias_stands_for_a_hidden_table(ask: Ask, sql: str) -> None:
    with pytest.raises(Problem):
        ask(sql.replace("$s", SECRET))


def test_an_adhoc_filter_costs_as_what_it_is_put_into(ask: Ask) -> None:
    lambdas = "arrayMap(x -> " + "-".join("abs(x)" for _ in range(40)) + ", [1]) = [1]"
    told = f"SETTINGS additional_table_filters = {{'v_live': '{lambdas}'}}"
    with pytest.raises(Problem, match="lambdas"):
        ask(f"SELECT node FROM v_live {told}")


def test_the_editor_learns_of_nothing_hidden(ask: Ask) -> None:
    for table in ("tables", "columns", "databases", "settings", "functions"):
        body = ask(f"SELECT * FROM system.{table} LIMIT 1000").body
        assert b'"hidden"' not in body
        assert b'"tick"' not in body


def test_texts_that_are_not_utf8_are_not_guessed(ask: Ask) -> None:
    with pytest.raises(Problem, match="UTF-8"):
        ask("SELECT x'ff'")


def test_an_adhoc_filter_is_part_of_the_tree(ask: Ask) -> None:
    inner = "SELECT name FROM system.tables"
    assert ask(inner).rows > 10
    filters = "SETTINGS additional_table_filters = {'default.v_live': ' node = \\'a\\' '}"
    assert ask(f"SELECT v_live.node FROM v_live {filters}").rows == 0
    assert ask(f"SELECT count() FROM v_live AS v WHERE v.node != '' {filters}").body == b"[0]\n"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT arrayJoin(range(9)) AS x",
        "SELECT arrayJoin(range(9)) AS x LIMIT 5",
        "SELECT arrayJoin(range(5)) AS x UNION ALL SELECT 1",
        "SELECT arrayJoin(range(9)) AS x ORDER BY x LIMIT 3 WITH TIES",
        "SELECT arrayJoin(range(9)) AS x SETTINGS limit = 3",
    ],
)
def test_a_clients_limit_of_rows(ask: Ask, sql: str) -> None:
    assert ask(sql, limit="3").rows == 3


def test_less_is_not_made_more(ask: Ask) -> None:
    assert ask("SELECT arrayJoin(range(9)) LIMIT 2", limit="3").rows == 2
