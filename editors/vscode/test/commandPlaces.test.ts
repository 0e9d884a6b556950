import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandPlaces, firstExecutable, type Surroundings } from '../src/commandPlaces.ts';

const NOTHING: Surroundings = { setting: '', python: undefined, home: '/home/a', environment: {} };

test('the setting is the only place when it is set', () => {
  const around = { ...NOTHING, setting: '/opt/u/understudy', python: '/venv/bin/python' };
  assert.deepEqual(commandPlaces(around), ['/opt/u/understudy']);
  assert.deepEqual(commandPlaces({ ...around, setting: '~/bin/u' }), ['/home/a/bin/u']);
});

test('the active Python comes first, then pipx and uv, then the PATH', () => {
  const environment = { PATH: '/usr/local/bin:/usr/bin' };
  const places = commandPlaces({ ...NOTHING, python: '/work/.venv/bin/python', environment });
  assert.equal(places[0], '/work/.venv/bin/understudy');
  assert.deepEqual(places.slice(-2), ['/usr/local/bin/understudy', '/usr/bin/understudy']);
  const tools = places.slice(1, -2);
  assert.ok(tools.includes('/home/a/.local/bin/understudy'));
  assert.ok(tools.includes('/home/a/.local/share/pipx/venvs/understudy/bin/understudy'));
  assert.ok(tools.includes('/home/a/Library/Application Support/pipx/venvs/understudy/bin/understudy'));
  assert.ok(tools.includes('/home/a/.local/share/uv/tools/understudy/bin/understudy'));
});

test('pipx and uv may have been told to use other folders', () => {
  const environment = {
    PIPX_BIN_DIR: '/p/bin',
    PIPX_HOME: '/p/home',
    UV_TOOL_BIN_DIR: '/u/bin',
    UV_TOOL_DIR: '/u/tools',
  };
  const places = commandPlaces({ ...NOTHING, environment });
  for (const folder of ['/p/bin', '/p/home/venvs/understudy/bin', '/u/bin', '/u/tools/understudy/bin']) {
    assert.ok(places.includes(`${folder}/understudy`), folder);
  }
});

test('a relative entry of the PATH would run what lies in the workspace: it is not looked at', () => {
  const places = commandPlaces({ ...NOTHING, environment: { PATH: '.:bin::/usr/bin', UV_TOOL_BIN_DIR: 'tools' } });
  assert.ok(places.every((place) => place.startsWith('/')));
  assert.equal(places.at(-1), '/usr/bin/understudy');
});

test('no place is tried twice, and the first executable one is taken', async () => {
  const environment = { PATH: '/home/a/.local/bin:/usr/bin:/usr/bin' };
  const places = commandPlaces({ ...NOTHING, environment });
  assert.equal(new Set(places).size, places.length);
  const tried: string[] = [];
  const found = await firstExecutable(places, async (place) => {
    tried.push(place);
    return place.startsWith('/usr');
  });
  assert.equal(found, '/usr/bin/understudy');
  assert.deepEqual(tried, places);
  assert.equal(await firstExecutable(places, async () => false), undefined);
});
