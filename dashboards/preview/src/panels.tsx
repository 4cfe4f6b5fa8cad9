// One component for each type of panel, from those that Grafana publishes where it does.
import {
  type DataFrame,
  type FieldDisplay,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  type GrafanaTheme2,
  type InterpolateFunction,
  renderTextPanelMarkdown,
  type TimeRange,
  VizOrientation,
} from '@grafana/data';
import {
  BarGauge,
  BigValue,
  BigValueColorMode,
  TimeSeries,
  useTheme2,
  VizRepeater,
  type VizRepeaterRenderValueProps,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { type ReactElement } from 'react';
import { Heatmap } from './heatmap';
import type { PanelModel } from './page';
import { StateTimeline } from './timeline';
import { XYChart } from './xychart';

export interface Drawing {
  panel: PanelModel;
  frames: DataFrame[];
  width: number;
  height: number;
  range: TimeRange;
  replace: InterpolateFunction;
}

type Factors = ReturnType<typeof getDisplayValueAlignmentFactors>;
type Repeated = VizRepeaterRenderValueProps<FieldDisplay, Factors>;

function displayed({ panel, frames, replace }: Drawing, theme: GrafanaTheme2): FieldDisplay[] {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig ?? { defaults: {}, overrides: [] },
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: replace,
    theme,
    data: frames,
    timeZone: 'utc',
    sparkline: panel.options.graphMode !== undefined && panel.options.graphMode !== 'none',
  });
}

function orientation(said: string | undefined, width: number, height: number): VizOrientation {
  if (said === 'horizontal') return VizOrientation.Horizontal;
  if (said === 'vertical') return VizOrientation.Vertical;
  return width > height ? VizOrientation.Vertical : VizOrientation.Horizontal;
}

function Stat(drawing: Drawing): ReactElement {
  const theme = useTheme2();
  const { panel, width, height } = drawing;
  const values = displayed(drawing, theme);
  const one = ({ value, width, height, count, alignmentFactors }: Repeated) => (
    <BigValue
      value={value.display}
      count={count}
      sparkline={value.sparkline}
      colorMode={panel.options.colorMode ?? BigValueColorMode.Value}
      graphMode={panel.options.graphMode}
      justifyMode={panel.options.justifyMode}
      textMode={panel.options.textMode}
      alignmentFactors={alignmentFactors}
      text={panel.options.text}
      width={width}
      height={height}
      theme={theme}
    />
  );
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={one}
      width={width}
      height={height}
      source={drawing.frames}
      itemSpacing={3}
      renderCounter={0}
      autoGrid
      orientation={orientation(panel.options.orientation, width, height)}
    />
  );
}

function Bars(drawing: Drawing): ReactElement {
  const theme = useTheme2();
  const { panel, width, height } = drawing;
  const values = displayed(drawing, theme);
  const lying = orientation(panel.options.orientation, width, height);
  const one = ({ value, width, height, count, alignmentFactors }: Repeated) => (
    <BarGauge
      value={value.display}
      field={value.field}
      display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
      width={width}
      height={height}
      orientation={lying}
      displayMode={panel.options.displayMode}
      showUnfilled={panel.options.showUnfilled}
      valueDisplayMode={panel.options.valueMode}
      namePlacement={panel.options.namePlacement}
      text={count < 2 ? panel.options.text : { ...panel.options.text }}
      alignmentFactors={alignmentFactors}
      itemSpacing={8}
      lcdCellWidth={12}
      theme={theme}
    />
  );
  return (
    <VizRepeater
      getValues={() => values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={one}
      width={width}
      height={height}
      minVizWidth={panel.options.minVizWidth ?? 8}
      minVizHeight={panel.options.minVizHeight ?? 16}
      maxVizHeight={panel.options.maxVizHeight ?? 300}
      source={drawing.frames}
      itemSpacing={8}
      renderCounter={0}
      orientation={lying}
    />
  );
}

function Lines({ panel, frames, width, height, range }: Drawing): ReactElement {
  const legend = { showLegend: true, ...panel.options.legend };
  return (
    <TimeSeries
      frames={frames}
      width={width}
      height={height}
      timeRange={range}
      timeZone="utc"
      legend={legend}
    />
  );
}

function Table({ panel, frames, width, height, range }: Drawing): ReactElement {
  return (
    <TableNG
      data={frames[0]!}
      width={width}
      height={height}
      noHeader={panel.options.showHeader === false}
      cellHeight={panel.options.cellHeight}
      sortBy={panel.options.sortBy}
      timeRange={range}
      fieldConfig={panel.fieldConfig}
      enableVirtualization={false}
      structureRev={1}
    />
  );
}

function Text({ panel, replace }: Drawing): ReactElement {
  const html = renderTextPanelMarkdown(replace(panel.options.content ?? ''));
  return <div className="markdown-html" dangerouslySetInnerHTML={{ __html: html }} />;
}

function AlertList(): ReactElement {
  return <div className="preview-note">Grafana lists its own alerts here.</div>;
}

export const PANELS: Record<string, (drawing: Drawing) => ReactElement> = {
  stat: Stat,
  bargauge: Bars,
  timeseries: Lines,
  table: Table,
  text: Text,
  alertlist: AlertList,
  'state-timeline': StateTimeline,
  heatmap: Heatmap,
  xychart: XYChart,
};
