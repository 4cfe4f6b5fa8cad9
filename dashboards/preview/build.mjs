// Writes dist/preview.js (and .css), all that a page needs.
import { build } from 'esbuild';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

await build({
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  entryPoints: { preview: 'src/main.tsx' },
  outdir: 'dist',
  bundle: true,
  minify: true,
  format: 'iife',
  platform: 'browser',
  target: 'chrome120',
  jsx: 'automatic',
  loader: { '.svg': 'text', '.woff2': 'dataurl', '.ttf': 'empty' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  logLevel: 'warning',
});
