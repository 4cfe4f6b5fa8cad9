// Our sources as modules that Node.js can run: Grafana's packages are written for browsers.
import { build } from 'esbuild';
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const here = dirname(fileURLToPath(import.meta.url));
// Node.js 20 has no navigator, which Grafana asks for its language.
const BANNER = `import { createRequire } from 'node:module';
const require = createRequire(import.meta.url);
globalThis.navigator ??= { language: 'en', languages: ['en'] };`;

/** Return what a module under src exports. */
export async function bundled(name) {
  const folder = mkdtempSync(join(here, 'dist-check-'));
  try {
    const outfile = join(folder, 'module.mjs');
    await build({
      absWorkingDir: here,
      entryPoints: [`src/${name}`],
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'node',
      jsx: 'automatic',
      logLevel: 'error',
      loader: { '.css': 'empty' },
      banner: { js: BANNER },
    });
    return await import(pathToFileURL(outfile));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
