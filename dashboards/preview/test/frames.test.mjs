import assert from 'node:assert/strict';
import test from 'node:test';
import { bundled } from '../bundle.mjs';

const { frameOf } = await bundled('frames.ts');
const { placed } = await bundled('grid.ts');
const { stretches } = await bundled('timeline.tsx');

const column = (name, kind, values) => ({ name, kind, values });
const SERIES = { id: 1, type: 'timeseries', targets: [{ format: 0 }] };
const TABLE = { id: 1, type: 'table', targets: [{ format: 1 }] };

test('rows of a label become a field each, null where an instant lacks one', () => {
  const frame = frameOf(SERIES, {
    columns: [
      column('t', 'time', [60, 60, 120, 180]),
      column('team', 'text', ['a', 'b', 'a', 'b']),
      column('Value', 'number', [1, 2, 3, null]),
    ],
  });
  assert.deepEqual(frame.fields[0].values, [60000, 120000, 180000]);
  const said = frame.fields.slice(1).map(({ labels, values }) => [labels, values]);
  assert.deepEqual(said, [
    [{ team: 'a' }, [1, 3, null]],
    [{ team: 'b' }, [2, null, null]],
  ]);
});

test('without a label, and as a table, the columns stay', () => {
  const columns = [column('t', 'time', [60, null]), column('w', 'number', [1, 2])];
  const frame = frameOf(SERIES, { columns });
  assert.deepEqual(frame.fields.map(({ values }) => values), [[60000, null], [1, 2]]);
  const named = [...columns, column('team', 'text', ['a', 'b'])];
  const table = frameOf(TABLE, { columns: named });
  assert.deepEqual(table.fields.map(({ type }) => type), ['time', 'number', 'string']);
  assert.equal(table.length, 2);
});

test('a collapsed row is opened, and what is below it moves down', () => {
  const panel = (id, y, h, more = {}) => ({ id, type: 'stat', gridPos: { x: 0, y, w: 12, h }, ...more });
  const inner = [panel(3, 1, 8)];
  const panels = [panel(2, 0, 1, { collapsed: true, panels: inner }), panel(4, 1, 2)];
  const { places, height } = placed(panels, 24 * 30 + 23 * 8);
  const tops = Object.fromEntries(places.map((place) => [place.panel.id, place.top]));
  assert.deepEqual(tops, { 2: 0, 3: 38, 4: 9 * 38 });
  assert.equal(places[1].width, 12 * 30 + 11 * 8);
  assert.equal(height, 9 * 38 + 2 * 38 - 8);
});

test('on a narrow window panels stand one below the other, as wide as it is', () => {
  const panel = (id, x, w) => ({ id, type: 'stat', gridPos: { x, y: 1, w, h: 4 } });
  const row = { id: 1, type: 'row', gridPos: { x: 0, y: 0, w: 24, h: 1 }, panels: [panel(2, 0, 3)] };
  const { places, height } = placed([row, panel(3, 3, 3)], 368);
  assert.deepEqual(places.map(({ panel, left, top, width }) => [panel.id, left, top, width]), [
    [1, 0, 0, 368],
    [2, 0, 38, 368],
    [3, 0, 5 * 38, 368],
  ]);
  assert.equal(height, 9 * 38 - 8);
});

test('equal states are one stretch, null ends one, the last is as long as the step', () => {
  assert.deepEqual(stretches([0, 10, 20, 30, 40], [1, 1, null, 1, 2], 100), [
    { from: 0, to: 20, value: 1 },
    { from: 30, to: 40, value: 1 },
    { from: 40, to: 50, value: 2 },
  ]);
});
