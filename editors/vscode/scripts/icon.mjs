// Draws media/icon.png from media/icon.svg.
import { readFileSync, writeFileSync } from 'node:fs';
import { Resvg } from '@resvg/resvg-js';

const MEDIA = new URL('../media/', import.meta.url);
const drawn = new Resvg(readFileSync(new URL('icon.svg', MEDIA)), { fitTo: { mode: 'width', value: 256 } }).render();
writeFileSync(new URL('icon.png', MEDIA), drawn.asPng());
