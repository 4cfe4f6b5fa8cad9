// A state timeline: a lane for each field, a bar for each stretch in which its value stays.
import { FieldType, getFieldDisplayName, type Field } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { type ReactElement } from 'react';
import { type Box, OURS, textOf, TimeAxis } from './axes';
import type { Drawing } from './panels';

export interface Stretch {
  from: number;
  to: number;
  value: unknown;
}

/** Stretches of equal values; null ends one. The last lasts as long as the step before it. */
export function stretches(times: number[], values: unknown[], end: number): Stretch[] {
  const found: Stretch[] = [];
  times.forEach((at, i) => {
    const value = values[i];
    if (value === null || value === undefined) return;
    const next = times[i + 1] ?? Math.min(end, at + (at - (times[i - 1] ?? at)));
    const last = found.at(-1);
    if (last && last.to === at && last.value === value) last.to = next;
    else found.push({ from: at, to: next, value });
  });
  return found;
}

export function StateTimeline({ frames, width, height, range }: Drawing): ReactElement {
  const theme = useTheme2();
  const frame = frames[0]!;
  const time = frame.fields.find((field) => field.type === FieldType.time);
  const lanes = frame.fields.filter((field) => field !== time);
  const names = lanes.map((field) => getFieldDisplayName(field, frame, frames));
  const left = Math.min(width / 3, 12 + 7 * Math.max(4, ...names.map((name) => name.length)));
  const box: Box = { left, top: 4, width: width - left - 8, height: height - 28 };
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const lane = box.height / Math.max(1, lanes.length);
  const x = (at: number) => box.left + ((Math.max(from, Math.min(to, at)) - from) / (to - from)) * box.width;
  const bars = (field: Field, row: number) =>
    stretches(time?.values ?? [], field.values, to).map((part) => {
      const wide = x(part.to) - x(part.from);
      const text = textOf(field, part.value);
      const top = box.top + row * lane + lane * 0.08;
      const color = field.display?.(part.value).color ?? theme.colors.primary.main;
      return (
        <g key={`${row} ${part.from}`}>
          <rect x={x(part.from)} y={top} width={wide} height={lane * 0.84} fill={color} opacity={0.7} />
          {wide > text.length * 7 + 8 && lane > 16 && (
            <text x={x(part.from) + 4} y={top + lane * 0.42 + 4} fill={theme.colors.text.maxContrast}>
              {text}
            </text>
          )}
        </g>
      );
    });
  const every = Math.max(1, Math.ceil(13 / lane));
  return (
    <svg width={width} height={height} fontSize={12} aria-label={OURS}>
      {lanes.map((field, row) => (
        <g key={row}>
          {row % every === 0 && (
            <text x={box.left - 6} y={box.top + (row + 0.5) * lane + 4} textAnchor="end" fill={theme.colors.text.primary}>
              {names[row]}
            </text>
          )}
          {bars(field, row)}
        </g>
      ))}
      <TimeAxis box={box} from={from} to={to} />
    </svg>
  );
}
