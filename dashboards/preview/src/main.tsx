// A board as Grafana would show it, from one object on the page (`window.page`).
import { createTheme, dateTime, dateTimeFormat, type GrafanaTheme2, ThemeContext, type TimeRange } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, PanelChrome, PortalContainer } from '@grafana/ui';
import { Component, type ReactElement, type ReactNode } from 'react';
import { createRoot } from 'react-dom/client';
import { configured } from './fields';
import { frameOf } from './frames';
import { GAP, placed, type Place } from './grid';
import { serveIcons } from './icons';
import type { Page } from './page';
import './page.css';
import { PANELS } from './panels';

const FONTS = "'Inter Variable', Helvetica, Arial, sans-serif";
const MONOSPACE = "'DejaVu Sans Mono', monospace";
const QUIET_MS = 250;
const LONGEST_MS = 8000;
const problems: string[] = [];

class Guarded extends Component<{ title: string; children: ReactNode }, { said: string }> {
  state = { said: '' };

  static getDerivedStateFromError(error: unknown): { said: string } {
    return { said: String(error) };
  }

  componentDidCatch(error: unknown): void {
    problems.push(`${this.props.title}: ${error}`);
  }

  render(): ReactNode {
    return this.state.said ? <div className="preview-problem">{this.state.said}</div> : this.props.children;
  }
}

function replacer(page: Page): (text: string) => string {
  return (text) =>
    text.replace(/\$\{(\w+)(?::\w+)?\}/g, (whole, name) => page.chosen[name]?.join(', ') ?? whole);
}

interface Drawn {
  page: Page;
  place: Place;
  theme: GrafanaTheme2;
  range: TimeRange;
}

function Inside({ page, place, theme, range, width, height }: Drawn & { width: number; height: number }): ReactElement {
  const { panel } = place;
  const Draw = PANELS[panel.type];
  if (!Draw) throw new Error(`no such type of panel: ${panel.type}`);
  const replace = replacer(page);
  const answer = page.answers[panel.id];
  if (!panel.targets) {
    return <Draw panel={panel} frames={[]} width={width} height={height} range={range} replace={replace} />;
  }
  if (!answer) throw new Error('its answer is not there');
  if (answer.error) throw new Error(answer.error);
  if (!answer.columns[0]?.values.length) {
    const said = panel.fieldConfig?.defaults.noValue ?? 'No data';
    return <div className="preview-nothing">{said}</div>;
  }
  const frames = configured(panel, [frameOf(panel, answer)], theme, replace);
  return <Draw panel={panel} frames={frames} width={width} height={height} range={range} replace={replace} />;
}

function OnePanel({ page, place, theme, range }: Drawn): ReactElement {
  const { panel, left, top, width, height } = place;
  if (panel.type === 'row') {
    return <div className="preview-row" style={{ top, left }}>{`⌄  ${panel.title}`}</div>;
  }
  return (
    <div className="preview-place" style={{ left, top, width, height }} data-panel={panel.id}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(innerWidth, innerHeight) => (
          <div data-inside style={{ width: innerWidth, height: innerHeight }}>
            <Guarded title={panel.title}>
              <Inside {...{ page, place, theme, range }} width={innerWidth} height={innerHeight} />
            </Guarded>
          </div>
        )}
      </PanelChrome>
    </div>
  );
}

function Head({ page }: { page: Page }): ReactElement {
  const format = { format: 'YYYY-MM-DD HH:mm', timeZone: 'utc' };
  const chosen = Object.entries(page.chosen).filter(([name]) => name !== 'collector');
  return (
    <div className="preview-head">
      <div className="preview-chosen">
        {chosen.map(([name, values]) => `${name}: ${values.join(', ')} · `)}
        {`${dateTimeFormat(page.fromMs, format)} to ${dateTimeFormat(page.toMs, format)} UTC`}
      </div>
      <h1>{page.board.title}</h1>
      <p>{page.board.description}</p>
    </div>
  );
}

function Board({ page, theme }: { page: Page; theme: GrafanaTheme2 }): ReactElement {
  const [from, to] = [dateTime(page.fromMs), dateTime(page.toMs)];
  const range = { from, to, raw: { from, to } };
  const { places, height } = placed(page.board.panels, page.width - 4 * GAP);
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Head page={page} />
      <div className="preview-board" style={{ height }}>
        {places.map((place) => (
          <OnePanel key={place.panel.id} {...{ page, place, theme, range }} />
        ))}
      </div>
      <PortalContainer />
    </ThemeContext.Provider>
  );
}

/** Wait until nothing on the page has changed for a while. */
function settled(): Promise<void> {
  return new Promise((done) => {
    let timer = setTimeout(done, QUIET_MS);
    const observer = new MutationObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(done, QUIET_MS);
    });
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    setTimeout(done, LONGEST_MS);
  });
}

async function draw(page: Page): Promise<void> {
  serveIcons();
  await initPluginTranslations('wattshed-preview');
  const theme = createTheme({
    colors: { mode: page.theme },
    typography: { fontFamily: FONTS, fontFamilyMonospace: MONOSPACE },
  });
  document.body.style.background = theme.colors.background.canvas;
  await document.fonts.load("14px 'Inter Variable'");
  createRoot(document.getElementById('board')!).render(<Board page={page} theme={theme} />);
  await settled();
}

/** Name the panels in whose place nothing stands: no text, no plot. */
function empty(page: Page): string[] {
  return placed(page.board.panels, 1).places.flatMap(({ panel }) => {
    if (panel.type === 'row' || panel.type === 'text') return [];
    const place = document.querySelector(`[data-panel="${panel.id}"] [data-inside]`);
    const isDrawn = place?.querySelector('canvas, svg text') || place?.textContent;
    return isDrawn ? [] : [`${panel.title}: nothing is drawn`];
  });
}

draw(window.page)
  .then(() => problems.push(...empty(window.page)))
  .catch((error: unknown) => problems.push(String(error)))
  .finally(() => {
    window.problems = problems;
  });
