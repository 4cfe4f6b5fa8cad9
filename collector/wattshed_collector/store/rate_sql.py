"""Each site's PUE and price in each hour that is charged, as SQL of one run of the ledger.

At each instant the site's own factor counts, else that of every site, else (of prices) the series
of the zone in which the site lay when the hour began; of overlapping steps of a series the one that
starts last, as in ``v_grid_1h`` and ``grid.series.tidy``. An hour has the mean over its seconds. It
has none where any second is not known, or where prices are in two currencies: an average of what is
known would be charged for the rest as well.

Parameters: those of ``pieces_sql.within``.
"""

from __future__ import annotations

_OWN, _EVERY, _ZONE = 3, 2, 1
"""Which step counts of those that hold at an instant: the highest, and of these the last."""

RATES = f"""
(
    SELECT groupArray((toUnixTimestamp(since_ts), toString(site), toString(zone)))
    FROM (SELECT * FROM site_zone FINAL ORDER BY since_ts)
) AS lies,
step AS (
    SELECT place, kind, begin, end, splitByChar('/', unit) AS per,
           if(kind = 'pue', '', per[1]) AS money,
           value / if(kind = 'pue', 1,
                      transform(per[2], ['J', 'Wh', 'kWh', 'MWh'],
                                [1., 3.6e3, 3.6e6, 3.6e9]::Array(Nullable(Float64)), NULL)) AS worth
    FROM (
        SELECT concat('site ', toString(site)) AS place, toString(kind) AS kind, value,
               toString(unit) AS unit, toUnixTimestamp(start_ts) AS begin,
               leadInFrame(begin, 1, toUInt32(4294967295)) OVER (
                   PARTITION BY kind, site ORDER BY start_ts
                   ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS end
        FROM factor FINAL
        WHERE kind IN ('pue', 'price') AND start_ts < {{until:DateTime('UTC')}}
    )
    WHERE isNotNull(value) AND end > {{lo:Int64}} / 1000
    UNION ALL
    SELECT concat('zone ', toString(zone)), 'price', toUnixTimestamp(start_ts),
           toUnixTimestamp(end_ts), splitByChar('/', toString(unit)) AS per, per[1],
           value / if(per[2] = 'kWh', 3.6e6, NULL)
    FROM grid FINAL
    WHERE kind = 'price' AND end_ts > start_ts
      AND start_ts < {{until:DateTime('UTC')}}
      AND end_ts > {{since:DateTime('UTC')}}
),
told AS (
    SELECT site, hour, f.kind AS kind,
           arraySort(s -> (s.1, s.2),
                     groupArray((place.1, f.begin, f.end, f.worth, f.money))) AS steps,
           arraySort(arrayDistinct(arrayFlatten(groupArray(
               [greatest(f.begin, hour), least(f.end, hour + 3600)])))) AS edges,
           arrayPopBack(edges) AS begins,
           arrayMap((a, b) -> b - a, begins, arrayPopFront(edges)) AS held,
           arrayMap(a -> arrayLast(s -> s.2 <= a AND s.3 > a, steps), begins) AS counts,
           edges[1] = hour AND edges[-1] = hour + 3600
               AND arrayAll(v -> isNotNull(v), counts.4)
               AND length(arrayDistinct(counts.5)) = 1 AS is_known,
           if(is_known, arraySum(arrayMap((v, n) -> assumeNotNull(v) * n, counts.4, held)) / 3600,
              NULL) AS mean,
           if(is_known, counts[1].5, '') AS money
    FROM (
        SELECT site, hour, arrayLast(z -> z.2 = site AND z.1 <= hour, lies).3 AS own,
               if(own != '', own, arrayLast(z -> z.2 = '' AND z.1 <= hour, lies).3) AS zone,
               arrayJoin([({_OWN}, concat('site ', site)), ({_EVERY}, 'site '),
                          ({_ZONE}, concat('zone ', zone))]) AS place
        FROM (SELECT DISTINCT toString(site) AS site FROM device FINAL)
        ARRAY JOIN range(toUInt32({{lo:Int64}} / 1000), toUInt32({{hi:Int64}} / 1000), 3600) AS hour
    ) AS s
    INNER JOIN step AS f ON f.place = s.place.2
    WHERE f.begin < hour + 3600 AND f.end > hour
    GROUP BY site, hour, kind
),
rate AS (
    SELECT site, toDateTime(hour, 'UTC') AS hour, anyIf(mean, kind = 'pue') AS pue,
           anyIf(mean, kind = 'price') AS per_joule, maxIf(money, kind = 'price') AS currency
    FROM told GROUP BY site, hour
),
"""

EVEN_RATES = """
rate AS (
    SELECT s.site AS site, s.hour AS hour,
           argMaxIf(tuple(f.value), f.start_ts, f.kind = 'pue' AND f.site = s.site).1 AS own_pue,
           argMaxIf(tuple(f.value), f.start_ts, f.kind = 'pue' AND f.site = '').1 AS any_pue,
           argMaxIf(tuple(f.value, f.unit), f.start_ts, f.kind = 'price' AND f.site = s.site)
               AS own_price,
           argMaxIf(tuple(f.value, f.unit), f.start_ts, f.kind = 'price' AND f.site = '')
               AS any_price,
           ifNull(own_pue, any_pue) AS pue,
           if(isNotNull(own_price.1), own_price, any_price) AS price,
           splitByChar('/', toString(price.2)) AS unit,
           price.1 / transform(unit[2], ['J', 'Wh', 'kWh', 'MWh'],
                               [1., 3.6e3, 3.6e6, 3.6e9]::Array(Nullable(Float64)), NULL)
               AS per_joule,
           if(isNull(per_joule), '', unit[1]) AS currency
    FROM (
        SELECT DISTINCT toString(d.site) AS site,
               arrayJoin(range(toUInt64({lo:Int64}), toUInt64({hi:Int64}), 3600000)) AS hour_ms,
               toDateTime(intDiv(hour_ms, 1000), 'UTC') AS hour
        FROM device AS d FINAL
    ) AS s
    CROSS JOIN (
        SELECT * FROM factor FINAL
        WHERE kind IN ('pue', 'price') AND start_ts < {until:DateTime('UTC')}
    ) AS f
    WHERE f.start_ts <= s.hour AND f.site IN ('', s.site)
    GROUP BY site, hour
),
"""
"""The same where ``is_even``, for half of the planning: an hour's mean is what holds at its
beginning."""

WITHOUT = """
(
    SELECT (count() = 0,
            countIf(start_ts > {since:DateTime('UTC')}
                    AND start_ts < {until:DateTime('UTC')}
                    AND toUnixTimestamp(start_ts) % 3600 != 0) = 0)
    FROM factor WHERE kind IN ('pue', 'price')
) AS are_factors,
are_factors.1 AS has_no_factor,
are_factors.2 AND (SELECT count() FROM grid WHERE kind = 'price') = 0 AS is_even
"""
"""``has_no_factor``: no site has a PUE or a price. ``is_even``: no zone has a series of prices, and
no factor begins within one of the hours."""
