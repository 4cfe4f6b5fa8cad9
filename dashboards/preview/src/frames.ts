// Answers as Grafana's data frames: what its back end makes of a ClickHouse answer.
// Source: grafana-plugin-sdk-go `data.LongToWide`, which sqlds calls for the time series format.
import { createDataFrame, FieldType, type DataFrame, type Field } from '@grafana/data';
import type { Answer, Column, PanelModel } from './page';

const TIME_SERIES = 0;

const TYPES: Record<Column['kind'], FieldType> = {
  time: FieldType.time,
  number: FieldType.number,
  flag: FieldType.boolean,
  text: FieldType.string,
};

function field({ name, kind, values }: Column): Field {
  const isTime = kind === 'time';
  const told = isTime ? values.map((at) => (at === null ? null : Number(at) * 1000)) : values;
  return { name, type: TYPES[kind], values: told, config: {} };
}

/** The answer as it is, a column a field. */
export function table(answer: Answer): DataFrame {
  return createDataFrame({ refId: 'A', fields: answer.columns.map(field) });
}

/** Rows of time, labels and numbers as one field per number and combination of labels. */
export function wide(long: DataFrame): DataFrame {
  const time = long.fields.find((field) => field.type === FieldType.time);
  const numbers = long.fields.filter((field) => field.type === FieldType.number);
  const labels = long.fields.filter(
    (field) => field.type === FieldType.string || field.type === FieldType.boolean
  );
  if (!time || numbers.length === 0 || labels.length === 0) return long;
  const times: number[] = [];
  const fields = new Map<string, Field>();
  for (let row = 0; row < long.length; row++) {
    const at: number = time.values[row];
    if (times.at(-1) !== at) times.push(at);
    const said = Object.fromEntries(labels.map((f) => [f.name, String(f.values[row] ?? '')]));
    for (const number of numbers) {
      const key = JSON.stringify([number.name, said]);
      let field = fields.get(key);
      if (!field) {
        field = { name: number.name, type: FieldType.number, labels: said, config: {}, values: [] };
        fields.set(key, field);
      }
      field.values[times.length - 1] = number.values[row];
    }
  }
  for (const field of fields.values()) {
    field.values = times.map((_, at) => field.values[at] ?? null);
  }
  const first = { ...time, values: times };
  return createDataFrame({ refId: 'A', fields: [first, ...fields.values()] });
}

/** The frame that the panel would be given. */
export function frameOf(panel: PanelModel, answer: Answer): DataFrame {
  const long = table(answer);
  return panel.targets?.[0]?.format === TIME_SERIES ? wide(long) : long;
}
