// What types cannot say of a board: units, properties, thresholds, colours, queries.
import {
  createTheme, fieldColorModeRegistry, fieldMatchers, fieldReducers, getValueFormats, standardTransformers,
} from '@grafana/data';
import type { BoardModel, PanelModel } from './page';
import { registry } from './fields';

const UNITS = new Set(getValueFormats().flatMap((group) => group.submenu?.map(({ value }) => value) ?? []));
/** Prefixes by which a unit is made up: `getValueFormat` of Grafana. */
const MADE_UP = /^(?:prefix|suffix|si|count|currency|bool|time):.+/;
const TRANSFORMERS = new Set(Object.values(standardTransformers).map(({ id }) => id));
const theme = createTheme();

interface Step {
  value: number | null;
  color: string;
}

function unitProblems(unit: unknown): string[] {
  if (unit === undefined || unit === '' || MADE_UP.test(String(unit))) return [];
  return UNITS.has(String(unit)) ? [] : [`Grafana has no unit ${unit}`];
}

function colorProblems(color: string): string[] {
  const isKnown = color === 'text' || theme.visualization.getColorByName(color) !== color;
  return isKnown || /^#[0-9a-f]{6}$/i.test(color) ? [] : [`Grafana has no colour ${color}`];
}

function stepProblems(steps: Step[]): string[] {
  const problems = steps.flatMap(({ color }) => colorProblems(color));
  if (steps[0]?.value !== null) problems.push('the first threshold is not from below all');
  const values = steps.slice(1).map(({ value }) => value);
  if (values.some((value) => value === null)) problems.push('a later threshold has no value');
  if (values.some((value, i) => i > 0 && Number(value) <= Number(values[i - 1])))
    problems.push('thresholds do not rise');
  return problems;
}

function valueProblems(id: string, value: any): string[] {
  if (id === 'unit') return unitProblems(value);
  if (id === 'thresholds') return stepProblems(value.steps);
  if (id !== 'color') return [];
  if (!fieldColorModeRegistry.getIfExists(value.mode)) return [`Grafana has no way to colour ${value.mode}`];
  return value.fixedColor ? colorProblems(value.fixedColor) : [];
}

function overrideProblems(panel: PanelModel): string[] {
  const known = registry(panel.type);
  return (panel.fieldConfig?.overrides ?? []).flatMap(({ matcher, properties }) => [
    ...(fieldMatchers.getIfExists(matcher.id) ? [] : [`Grafana has no matcher ${matcher.id}`]),
    ...properties.flatMap(({ id, value }) => [
      ...(known.getIfExists(id) ? [] : [`a ${panel.type} has no field property ${id}`]),
      ...valueProblems(id, value),
    ]),
  ]);
}

function panelProblems(panel: PanelModel): string[] {
  const { unit, thresholds, color } = (panel.fieldConfig?.defaults ?? {}) as Record<string, any>;
  const calcs: string[] = panel.options.reduceOptions?.calcs ?? [];
  const transformed: { id: string }[] = (panel as any).transformations ?? [];
  return [
    ...unitProblems(unit),
    ...(thresholds ? stepProblems(thresholds.steps) : []),
    ...(color ? valueProblems('color', color) : []),
    ...overrideProblems(panel),
    ...calcs.filter((id) => !fieldReducers.getIfExists(id)).map((id) => `Grafana has no calculation ${id}`),
    ...transformed.filter(({ id }) => !TRANSFORMERS.has(id)).map(({ id }) => `Grafana has no transformation ${id}`),
  ].map((said) => `panel ${panel.id} (${panel.title}): ${said}`);
}

/** What Grafana would not understand in a board. */
export function problems(board: BoardModel): string[] {
  return board.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]).filter((p) => p.type !== 'row').flatMap(panelProblems);
}
