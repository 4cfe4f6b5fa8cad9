// Grafana's icons come from its server; here those that its panels ask for come with the page.
import angleDown from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/angle-down.svg';
import arrowDown from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/arrow-down.svg';
import arrowUp from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/arrow-up.svg';
import exclamation from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/exclamation-triangle.svg';
import externalLink from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/external-link-alt.svg';
import filter from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/filter.svg';
import info from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/info-circle.svg';
import link from '../node_modules/@grafana/ui/dist/public/img/icons/unicons/link.svg';

const ICONS: Record<string, string> = {
  'angle-down': angleDown,
  'arrow-down': arrowDown,
  'arrow-up': arrowUp,
  'exclamation-triangle': exclamation,
  'external-link-alt': externalLink,
  filter,
  'info-circle': info,
  link,
};
const NONE = '<svg xmlns="http://www.w3.org/2000/svg"/>';

/** Answer requests for icons from this page; nothing else is ever asked for. */
export function serveIcons(): void {
  window.fetch = async (input) => {
    const name = /\/img\/icons\/\w+\/([\w-]+)\.svg$/.exec(String(input))?.[1];
    if (name === undefined) throw new TypeError(`the page asks nobody for ${input}`);
    return new Response(ICONS[name] ?? NONE, { headers: { 'Content-Type': 'image/svg+xml' } });
  };
}
