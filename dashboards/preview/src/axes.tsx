// Axes for the plots that we draw ourselves, because Grafana publishes no component for them.
import { dateTimeFormat, type Field, formattedValueToString } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';
import { type ReactElement } from 'react';

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

export const OURS = 'drawn by wattshed: Grafana publishes no component for it';

export function textOf(field: Field, value: unknown): string {
  const shown = field.display?.(value);
  return shown ? formattedValueToString(shown) : String(value ?? '');
}

/** Round numbers within the range, about `count` of them. */
export function ticks(from: number, to: number, count: number): number[] {
  const rough = (to - from) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough) ?? rough;
  const found: number[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to + step / 1e6; at += step) found.push(at);
  return found;
}

const STEPS_MS = [
  60e3, 300e3, 600e3, 1800e3, 3600e3, 7200e3, 10800e3, 21600e3, 43200e3, 86400e3, 172800e3,
  604800e3, 1209600e3, 2592000e3, 7776000e3,
];

export function TimeAxis({ box, from, to }: { box: Box; from: number; to: number }): ReactElement {
  const theme = useTheme2();
  const rough = (to - from) / Math.max(2, Math.floor(box.width / 90));
  const step = STEPS_MS.find((ms) => ms >= rough) ?? STEPS_MS.at(-1)!;
  const format = step < 86400e3 ? (to - from > 86400e3 ? 'MM/DD HH:mm' : 'HH:mm') : 'MM/DD';
  const marks: ReactElement[] = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    const x = box.left + ((at - from) / (to - from)) * box.width;
    marks.push(
      <text key={at} x={x} y={box.top + box.height + 16} textAnchor="middle">
        {dateTimeFormat(at, { format, timeZone: 'utc' })}
      </text>
    );
  }
  return (
    <g fill={theme.colors.text.primary} fontSize={12}>
      {marks}
    </g>
  );
}

interface Scale {
  field: Field;
  from: number;
  to: number;
}

interface Grid extends Scale {
  box: Box;
  isVertical?: boolean;
}

const LETTER_PX = 7;

/** Room that the texts of a scale at the left take, in pixels. */
export function roomFor({ field, from, to }: Scale, height: number): number {
  const texts = ticks(from, to, ticksIn(height, 40)).map((at) => textOf(field, at).length);
  return 6 + LETTER_PX * Math.max(3, ...texts);
}

function ticksIn(px: number, each: number): number {
  return Math.max(2, Math.floor(px / each));
}

/** Lines and texts of a scale of numbers, at the left or (isVertical) below. */
export function NumberAxis({ box, field, from, to, isVertical }: Grid): ReactElement {
  const theme = useTheme2();
  const count = isVertical ? ticksIn(box.width, 110) : ticksIn(box.height, 40);
  return (
    <g fill={theme.colors.text.primary} fontSize={12} stroke="none">
      {ticks(from, to, count).map((at) => {
        const part = (at - from) / (to - from || 1);
        const x = box.left + part * box.width;
        const y = box.top + (1 - part) * box.height;
        return isVertical ? (
          <g key={at}>
            <line x1={x} x2={x} y1={box.top} y2={box.top + box.height} stroke={theme.colors.border.weak} />
            <text x={x} y={box.top + box.height + 16} textAnchor="middle">{textOf(field, at)}</text>
          </g>
        ) : (
          <g key={at}>
            <line x1={box.left} x2={box.left + box.width} y1={y} y2={y} stroke={theme.colors.border.weak} />
            <text x={box.left - 6} y={y + 4} textAnchor="end">{textOf(field, at)}</text>
          </g>
        );
      })}
    </g>
  );
}
