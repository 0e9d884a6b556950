// Writes the settings into package.json: the extension's own, then the server's as `understudy settings --json` declares them.
// `npm run settings`; with --check it only says whether package.json is as it should be.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const MANIFEST = new URL('../package.json', import.meta.url);

/** Read by the extension, not by the server. */
const OWN = {
  'understudy.command': {
    type: 'string',
    default: '',
    scope: 'machine-overridable',
    markdownDescription:
      'Path of the `understudy` command. Empty: the active Python, pipx, uv and the PATH are searched. Ignored in untrusted workspaces.',
  },
};

const declared = JSON.parse(execFileSync('understudy', ['settings', '--json'], { encoding: 'utf8' }));
const manifest = JSON.parse(readFileSync(MANIFEST, 'utf8'));
const wanted = {
  ...OWN,
  ...Object.fromEntries(declared.map((one) => [`understudy.${one.name}`, property(one)])),
};

if (process.argv.includes('--check')) {
  if (JSON.stringify(manifest.contributes.configuration.properties) !== JSON.stringify(wanted)) {
    console.error('the settings in package.json are not those of `understudy settings --json`: npm run settings');
    process.exit(1);
  }
} else {
  manifest.contributes.configuration.properties = wanted;
  writeFileSync(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`);
}

function property(one) {
  return {
    type: one.type,
    ...(one.type === 'array' ? { items: { type: 'string' } } : {}),
    default: one.default,
    ...(one.minimum === null ? {} : { minimum: one.minimum, maximum: one.maximum }),
    scope: 'window',
    markdownDescription: one.unit ? `${one.doc} (${one.unit})` : one.doc,
  };
}
