// Bundles the extension into out/, with the licences of what goes into the bundle, and this project's own.
import { copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const HERE = fileURLToPath(new URL('..', import.meta.url));
const LICENCE_FILES = ['LICENSE', 'LICENSE.md', 'LICENSE.txt', 'License.txt', 'LICENCE'];

rmSync(`${HERE}out`, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: HERE,
  entryPoints: ['src/extension.ts'],
  outfile: 'out/extension.cjs',
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  external: ['vscode'],
  metafile: true,
  logLevel: 'warning',
});
writeFileSync(`${HERE}out/licences.txt`, licences(metafile));
copyFileSync(`${HERE}../../LICENSE`, `${HERE}LICENSE`);

/** The licence of each package that a file of the bundle comes from; a package without one stops the build. */
function licences({ inputs }) {
  const folders = Object.keys(inputs)
    .map((path) => path.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//)?.[1])
    .filter((folder) => folder !== undefined);
  return [...new Set(folders)]
    .sort()
    .map((folder) => {
      const { name, version, license } = JSON.parse(readFileSync(`${HERE}${folder}/package.json`, 'utf8'));
      const file = LICENCE_FILES.map((one) => `${HERE}${folder}/${one}`).find(existsSync);
      if (file === undefined) {
        throw new Error(`${name} ${version} has no licence file; its package.json says ${license}`);
      }
      return `${name} ${version} (${license})\n\n${readFileSync(file, 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}
