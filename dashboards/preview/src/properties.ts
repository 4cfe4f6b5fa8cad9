// The field properties that an override may set, by panel type. The types of the published schema
// make these lists complete: a name that is too much or missing does not compile.
import type {
  AxisConfig,
  GraphFieldConfig,
  HideableFieldConfig,
  TableFieldOptions,
} from '@grafana/schema';
import type { FieldConfig as StateTimelineFields } from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type { FieldConfig as XYFields } from '@grafana/schema/dist/esm/raw/composable/xychart/panelcfg/x/XYChartPanelCfg_types.gen';

type Every<T> = Record<keyof Required<T>, 1>;

const AXIS: Every<AxisConfig> = {
  axisBorderShow: 1, axisCenteredZero: 1, axisColorMode: 1, axisGridShow: 1, axisLabel: 1,
  axisPlacement: 1, axisSoftMax: 1, axisSoftMin: 1, axisWidth: 1, scaleDistribution: 1,
};
const HIDE: Every<HideableFieldConfig> = { hideFrom: 1 };
const GRAPH: Every<GraphFieldConfig> = {
  ...AXIS, ...HIDE,
  barAlignment: 1, barMaxWidth: 1, barWidthFactor: 1, drawStyle: 1, fillBelowTo: 1, fillColor: 1,
  fillOpacity: 1, gradientMode: 1, insertNulls: 1, lineColor: 1, lineInterpolation: 1, lineStyle: 1,
  lineWidth: 1, pointColor: 1, pointSize: 1, pointSymbol: 1, showPoints: 1,
  showValues: 1, spanNulls: 1, stacking: 1, thresholdsStyle: 1, transform: 1,
};
const TABLE: Every<TableFieldOptions> = {
  align: 1, cellOptions: 1, displayMode: 1, filterable: 1, footer: 1, hideFrom: 1,
  hideHeader: 1, inspect: 1, minWidth: 1, sortable: 1, styleField: 1, tooltip: 1, width: 1, wrapHeaderText: 1,
  wrapText: 1,
};
const TIMELINE: Every<StateTimelineFields> = { ...AXIS, ...HIDE, fillOpacity: 1, lineWidth: 1 };
const XY: Every<XYFields> = {
  ...AXIS, ...HIDE, fillOpacity: 1, lineStyle: 1, lineWidth: 1, pointShape: 1, pointSize: 1,
  pointStrokeWidth: 1, show: 1,
};

// What Grafana up to 12.1 has for hideFrom; newer ones migrate it.
const OLD_TABLE = ['hidden'];

export const STANDARD = [
  'unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'color', 'links', 'mappings',
  'thresholds', 'filterable', 'description', 'fieldMinMax', 'actions',
];

/** Names beyond the standard ones, without `custom.`. */
export const CUSTOM: Record<string, string[]> = {
  timeseries: Object.keys(GRAPH),
  table: [...Object.keys(TABLE), ...OLD_TABLE],
  'state-timeline': Object.keys(TIMELINE),
  heatmap: ['scaleDistribution', 'hideFrom'],
  xychart: Object.keys(XY),
  stat: [],
  bargauge: [],
  text: [],
  alertlist: [],
};
