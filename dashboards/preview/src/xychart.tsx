// Points of one number against another, a colour for each name.
import { FieldType, getFieldDisplayName, type Field } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { type ReactElement } from 'react';
import { type Box, NumberAxis, OURS, roomFor } from './axes';
import type { Drawing } from './panels';

function span(field: Field): [number, number] {
  const said: number[] = field.values.filter((value) => value !== null);
  const [least, most] = [Math.min(...said), Math.max(...said)];
  const room = (most - least || Math.abs(most) || 1) * 0.08;
  return [field.config.min ?? (least >= 0 && least < room * 4 ? 0 : least - room), field.config.max ?? most + room];
}

export function XYChart({ panel, frames, width, height }: Drawing): ReactElement {
  const theme = useTheme2();
  const frame = frames[0]!;
  const numbers = frame.fields.filter((field) => field.type === FieldType.number);
  const named = (matcher: any) => frame.fields.find((field) => field.name === matcher?.options);
  const mapped = panel.options.series?.[0];
  const x = named(mapped?.x?.matcher) ?? numbers[0];
  const y = named(mapped?.y?.matcher) ?? numbers[1];
  const name = frame.fields.find((field) => field.type === FieldType.string);
  if (!x || !y) throw new Error('an XY chart needs two columns of numbers');
  const [[left, right], [low, high]] = [span(x), span(y)];
  const inner = height - 68;
  const beside = 22 + roomFor({ field: y, from: low, to: high }, inner);
  const box: Box = { left: beside, top: 8, width: width - beside - 16, height: inner };
  const color = (at: number) => theme.visualization.getColorByName(theme.visualization.palette[at % theme.visualization.palette.length]!);
  const title = (field: Field) => getFieldDisplayName(field, frame, frames);
  const names: string[] = [...new Set<string>(name?.values ?? [])];
  return (
    <svg width={width} height={height} fontSize={12} aria-label={OURS}>
      <NumberAxis box={box} field={y} from={low} to={high} />
      <NumberAxis box={box} field={x} from={left} to={right} isVertical />
      {x.values.map((value: number | null, i: number) => {
        const other: number | null = y.values[i];
        if (value === null || other === null) return null;
        const at = name ? names.indexOf(name.values[i]) : 0;
        const cx = box.left + ((value - left) / (right - left)) * box.width;
        const cy = box.top + (1 - (other - low) / (high - low)) * box.height;
        return (
          <g key={i}>
            <circle cx={cx} cy={cy} r={4} fill={color(at)} fillOpacity={0.6} stroke={color(at)} />
            {name && x.values.length <= 20 && (
              <text x={cx + 7} y={cy - 5} fill={theme.colors.text.secondary}>{name.values[i]}</text>
            )}
          </g>
        );
      })}
      <g fill={theme.colors.text.primary}>
        <text x={box.left + box.width / 2} y={height - 18} textAnchor="middle">{title(x)}</text>
        <text transform={`translate(12 ${box.top + box.height / 2}) rotate(-90)`} textAnchor="middle">{title(y)}</text>
      </g>
    </svg>
  );
}
