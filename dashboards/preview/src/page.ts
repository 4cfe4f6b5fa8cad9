// What the page is given: one board, the answers of its panels, and how to draw them.
import type { FieldConfigSource } from '@grafana/data';

/** As the collector answers it: /v1/boards/{uid}/panels/{id}. Times are Unix seconds; missing is null. */
export interface Column {
  name: string;
  kind: 'time' | 'number' | 'flag' | 'text';
  values: unknown[];
}

export interface Answer {
  columns: Column[];
  error?: string;
}

export interface Target {
  format?: number;
}

export interface PanelModel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { h: number; w: number; x: number; y: number };
  options: Record<string, any>;
  fieldConfig?: FieldConfigSource;
  targets?: Target[];
  collapsed?: boolean;
  panels?: PanelModel[];
}

export interface BoardModel {
  uid: string;
  title: string;
  description?: string;
  panels: PanelModel[];
}

export interface Page {
  board: BoardModel;
  /** By the panel's id. */
  answers: Record<string, Answer>;
  fromMs: number;
  toMs: number;
  chosen: Record<string, string[]>;
  theme: 'dark' | 'light';
  width: number;
}

declare global {
  interface Window {
    page: Page;
    /** What could not be drawn; there once all is drawn. */
    problems?: string[];
  }
}
