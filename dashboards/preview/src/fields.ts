// Field configuration, applied by Grafana's own code: defaults, overrides, units, colours, limits.
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  dataLinksOverrideProcessor,
  FieldConfigOptionsRegistry,
  identityOverrideProcessor,
  numberOverrideProcessor,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  type DataFrame,
  type FieldConfigPropertyItem,
  type GrafanaTheme2,
  type InterpolateFunction,
} from '@grafana/data';
import type { PanelModel } from './page';
import { CUSTOM, STANDARD } from './properties';

type Process = FieldConfigPropertyItem['process'];
const PROCESS: Record<string, Process> = {
  unit: stringOverrideProcessor,
  displayName: stringOverrideProcessor,
  noValue: stringOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  decimals: numberOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
  links: dataLinksOverrideProcessor,
};
const nothing = () => null;

function property(path: string, isCustom: boolean): FieldConfigPropertyItem {
  const process = (isCustom ? undefined : PROCESS[path]) ?? identityOverrideProcessor;
  return {
    id: isCustom ? `custom.${path}` : path,
    path,
    name: path,
    isCustom,
    editor: nothing,
    override: nothing,
    process: (value, context, settings) => process(value, context, settings ?? {}),
    shouldApply: () => true,
  };
}

/** Every property that the type of panel knows. */
export function registry(panelType: string): FieldConfigOptionsRegistry {
  return new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map((path) => property(path, false)),
    ...(CUSTOM[panelType] ?? []).map((path) => property(path, true)),
  ]);
}

export function configured(
  panel: PanelModel,
  frames: DataFrame[],
  theme: GrafanaTheme2,
  replaceVariables: InterpolateFunction
): DataFrame[] {
  const made = applyFieldOverrides({
    data: frames,
    fieldConfig: panel.fieldConfig ?? { defaults: {}, overrides: [] },
    fieldConfigRegistry: registry(panel.type),
    replaceVariables,
    theme,
    timeZone: 'utc',
  });
  // A table's header shows what is kept here, else the bare name of the column.
  cacheFieldDisplayNames(made);
  return made;
}
