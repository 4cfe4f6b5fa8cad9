// Grafana's grid, with collapsed rows opened: a picture shows every panel.
import type { PanelModel } from './page';

export const CELL_HEIGHT = 30;
export const GAP = 8;
export const COLUMNS = 24;
/** Below Grafana's breakpoint `md` (769, of the window) panels stand one below the other. */
export const NARROW = 769 - 4 * GAP;

export interface Place {
  panel: PanelModel;
  left: number;
  top: number;
  width: number;
  height: number;
}

function below(panels: PanelModel[]): number {
  return Math.max(0, ...panels.map(({ gridPos }) => gridPos.y + gridPos.h));
}

function place(panel: PanelModel, shift: number, total: number): Place {
  const { x, y, w, h } = panel.gridPos;
  const column = (total - GAP * (COLUMNS - 1)) / COLUMNS;
  return {
    panel,
    left: Math.round(x * (column + GAP)),
    top: (y + shift) * (CELL_HEIGHT + GAP),
    width: Math.round(w * column + (w - 1) * GAP),
    height: h * CELL_HEIGHT + (h - 1) * GAP,
  };
}

function narrow(panels: PanelModel[], total: number): { places: Place[]; height: number } {
  const all = panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
  let top = 0;
  const places = all.map((panel) => {
    const height = panel.gridPos.h * CELL_HEIGHT + (panel.gridPos.h - 1) * GAP;
    const here = { panel, left: 0, top, width: total, height };
    top += height + GAP;
    return here;
  });
  return { places, height: Math.max(0, top - GAP) };
}

/** Where everything stands, in pixels, and how high the board is. */
export function placed(panels: PanelModel[], total: number): { places: Place[]; height: number } {
  if (total < NARROW) return narrow(panels, total);
  const places: Place[] = [];
  let shift = 0;
  for (const panel of panels) {
    places.push(place(panel, shift, total));
    const inner = panel.panels ?? [];
    if (!panel.collapsed || inner.length === 0) continue;
    places.push(...inner.map((one) => place(one, shift, total)));
    shift += below(inner) - (panel.gridPos.y + panel.gridPos.h);
  }
  return { places, height: Math.max(0, ...places.map(({ top, height }) => top + height)) };
}
