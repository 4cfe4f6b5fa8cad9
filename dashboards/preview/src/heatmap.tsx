// A heat map: a row for each field, a cell for each instant, darker where there is more.
import { FieldType, getFieldDisplayName, type Field } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { type ReactElement } from 'react';
import { type Box, OURS, textOf, TimeAxis } from './axes';
import type { Drawing } from './panels';

function limits(fields: Field[]): [number, number] {
  const said = fields.flatMap((field) => field.values.filter((value) => value !== null));
  return [Math.min(0, ...said), Math.max(...said, 0)];
}

function stepOf(times: number[]): number {
  const gaps = times.slice(1).map((at, i) => at - times[i]!);
  return gaps.length ? Math.min(...gaps) : 0;
}

export function Heatmap({ panel, frames, width, height, range }: Drawing): ReactElement {
  const theme = useTheme2();
  const frame = frames[0]!;
  const times: number[] = frame.fields.find((field) => field.type === FieldType.time)?.values ?? [];
  const rows = frame.fields.filter((field) => field.type === FieldType.number);
  const names = rows.map((field) => getFieldDisplayName(field, frame, frames));
  const left = Math.min(width / 3, 12 + 7 * Math.max(3, ...names.map((name) => name.length)));
  const box: Box = { left, top: 4, width: width - left - 8, height: height - 48 };
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const [least, most] = limits(rows);
  const high = box.height / Math.max(1, rows.length);
  const wide = (stepOf(times) / (to - from)) * box.width;
  const isFirstOnTop: boolean = panel.options.yAxis?.reverse ?? false;
  const line = (row: number) => (isFirstOnTop ? row : rows.length - 1 - row);
  const shade = (value: number) => (value - least) / (most - least || 1);
  const color = theme.visualization.getColorByName('orange');
  const cells = (field: Field, row: number) =>
    times.map((at, i) => {
      const value = field.values[i];
      if (value === null || value === undefined) return null;
      const x = box.left + ((at - from) / (to - from)) * box.width;
      const y = box.top + line(row) * high;
      const opacity = 0.06 + 0.94 * shade(value);
      return <rect key={i} x={x} y={y} width={Math.max(1, wide - 0.5)} height={Math.max(1, high - 1)} fill={color} opacity={opacity} />;
    });
  const every = Math.max(1, Math.ceil(14 / high));
  return (
    <svg width={width} height={height} fontSize={12} fill={theme.colors.text.primary} aria-label={OURS}>
      {rows.map((field, row) => (
        <g key={row}>
          {row % every === 0 && (
            <text x={box.left - 6} y={box.top + (line(row) + 0.5) * high + 4} textAnchor="end">
              {names[row]}
            </text>
          )}
          {cells(field, row)}
        </g>
      ))}
      <TimeAxis box={box} from={from} to={to} />
      {rows[0] && (
        <g transform={`translate(${box.left} ${height - 18})`}>
          {[0, 0.25, 0.5, 0.75, 1].map((part, i) => (
            <rect key={part} x={i * 24} y={0} width={24} height={8} fill={color} opacity={0.06 + 0.94 * part} />
          ))}
          <text x={128} y={9}>{`${textOf(rows[0], least)} – ${textOf(rows[0], most)}`}</text>
        </g>
      )}
    </svg>
  );
}
