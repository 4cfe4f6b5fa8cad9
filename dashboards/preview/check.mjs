// Holds boards against Grafana's published types and its own knowledge of units and properties.
// Usage: node check.mjs [FILE..]; without files those in dashboards/grafana. Exit status 1: problems.
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import ts from 'typescript';
import { bundled, here } from './bundle.mjs';

const boards = join(here, '..', 'grafana');
const files = process.argv.slice(2);
if (files.length === 0) {
  files.push(...readdirSync(boards).filter((name) => name.endsWith('.json')).map((name) => join(boards, name)));
}

/** Problems of type, by the compiler: each board becomes a constant of the type Board. */
function typeProblems(named) {
  const { config } = ts.readConfigFile(join(here, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, here);
  const host = ts.createCompilerHost(options);
  const virtual = new Map(
    named.map(([name, text]) => [
      join(here, 'src', `${name}.board.ts`),
      `import type { Board } from './schema';\nexport const board: Board = ${text.trimEnd()};\n`,
    ])
  );
  const { fileExists, getSourceFile, readFile } = host;
  host.fileExists = (path) => virtual.has(path) || fileExists(path);
  host.readFile = (path) => virtual.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) =>
    virtual.has(path) ? ts.createSourceFile(path, virtual.get(path), ...rest) : getSourceFile(path, ...rest);
  const program = ts.createProgram([...virtual.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map((found) => {
    const said = ts.flattenDiagnosticMessageText(found.messageText, '\n  ');
    const line = found.file?.getLineAndCharacterOfPosition(found.start ?? 0).line ?? 0;
    return `${basename(found.file?.fileName ?? '').replace('.board.ts', '.json')}:${line}: ${said}`;
  });
}

/** Problems that only Grafana's code knows. */
async function meaningProblems(named) {
  const { problems } = await bundled('meaning.ts');
  return named.flatMap(([name, text]) => problems(JSON.parse(text)).map((said) => `${name}.json: ${said}`));
}

const named = files.map((file) => [basename(file, '.json'), readFileSync(file, 'utf8')]);
const found = [...typeProblems(named), ...(await meaningProblems(named))];
for (const said of found) console.error(said);
console.log(`${named.length} boards, ${found.length} problems`);
process.exitCode = found.length > 0 || named.length === 0 ? 1 : 0;
