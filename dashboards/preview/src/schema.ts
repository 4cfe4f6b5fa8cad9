// A board's JSON as a type, from the types that Grafana publishes. Every property must be known.
import type {
  Dashboard, DashboardLink, FieldConfig, GraphFieldConfig, RowPanel, TableFieldOptions,
  VariableModel,
} from '@grafana/schema';
import type { Options as Bars } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { FieldConfig as HeatFields, Options as Heat } from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type { Options as Stat } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { FieldConfig as StateFields, Options as States } from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type { Options as Table } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { Options as Text } from '@grafana/schema/dist/esm/raw/composable/text/panelcfg/x/TextPanelCfg_types.gen';
import type { Options as Lines } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type { FieldConfig as XYFields, Options as XY } from '@grafana/schema/dist/esm/raw/composable/xychart/panelcfg/x/XYChartPanelCfg_types.gen';
import type * as raw from '@grafana/schema/dist/esm/raw/dashboard/x/Dashboard_types.gen';

/** JSON has an enumeration's values, not its names; what is left out has a default. */
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends readonly (infer One)[]
      ? Json<One>[]
      : { [Key in keyof T]?: Json<T[Key]> };

/** A query of the ClickHouse data source: `src/types/sql.ts` of grafana/clickhouse-datasource. */
interface Query {
  refId: string;
  datasource: { type: string; uid: string };
  editorType: 'sql' | 'builder';
  rawSql: string;
  queryType: 'timeseries' | 'table' | 'logs' | 'traces';
  format: 0 | 1 | 2 | 3;
}

type Fields<Custom> = Json<Omit<FieldConfig, 'custom' | 'links'>> & {
  custom?: Json<Custom>;
  links?: { title: string; url: string; targetBlank?: boolean }[];
};

type Said = Required<Omit<FieldConfig, 'custom' | 'links'>>;

/** What an override sets: a standard property, or one of the panel's own. */
type Property<Custom> =
  | { [Name in keyof Said & string]: { id: Name; value: Json<Said[Name]> } }[keyof Said & string]
  | { id: 'links'; value: Fields<Custom>['links'] }
  | {
      [Name in keyof Custom & string]-?: { id: `custom.${Name}`; value: Json<Custom[Name]> };
    }[keyof Custom & string];

interface Override<Custom> {
  matcher: raw.MatcherConfig;
  properties: Property<Custom>[];
}

type Of<Type extends string, Options, Custom = { [Name in never]: never }> = Json<
  Omit<raw.Panel, 'type' | 'options' | 'fieldConfig' | 'targets' | 'links'>
> & {
  type: Type;
  options: Json<Options>;
  links?: Partial<DashboardLink>[];
  targets?: Query[];
  fieldConfig?: { defaults: Fields<Custom>; overrides: Override<Custom>[] };
};

type Panel =
  | Of<'stat', Stat>
  | Of<'bargauge', Bars>
  | Of<'timeseries', Lines, GraphFieldConfig>
  | Of<'table', Table, TableFieldOptions & { /** Up to 12.1. */ hidden?: boolean }>
  | Of<'state-timeline', States, StateFields>
  | Of<'heatmap', Heat, HeatFields>
  | Of<'xychart', XY, XYFields>
  | Of<'text', Text>
  // No types are published for its options.
  | Of<'alertlist', Record<string, unknown>>;

type Row = Json<Omit<RowPanel, 'panels' | 'type'>> & { type: 'row'; panels: Panel[] };

/** `definition` is what Grafana's own editor writes beside the query; the schema lacks it. */
type Variable = Json<VariableModel> & { definition?: string };

export type Board = Json<Omit<Dashboard, 'panels' | 'templating' | 'uid' | 'title' | 'schemaVersion'>> & {
  uid: string;
  title: string;
  schemaVersion: number;
  templating: { list: Variable[] };
  panels: (Panel | Row)[];
};
