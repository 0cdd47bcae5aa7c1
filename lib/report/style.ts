// How the page looks: paper by day, slate by night, one column on a phone.

/** Colours of runs, light and dark; told apart by most eyes, and of enough contrast on their ground. */
const runColours = [
  ['#2357c5', '#82aaff'],
  ['#c2410c', '#ff9e64'],
  ['#0f766e', '#4fd6be'],
  ['#9333a8', '#d9a0f0'],
  ['#8a6100', '#e6c35c'],
  ['#be185d', '#ff8fb8'],
  ['#3f6212', '#a8d672'],
  ['#475569', '#aab8cc'],
] as const;

/** The colour of the run with this place, as CSS; they repeat after the last. */
export const runColour = (index: number): string => `var(--run-${(index % runColours.length) + 1})`;

const colours = (which: 0 | 1): string =>
  runColours.map((each, i) => `--run-${i + 1}:${each[which]}`).join(';');

export const style = `
:root{color-scheme:light dark;--paper:#fdfdfb;--card:#ffffff;--ink:#1a1d21;--quiet:#5b6470;--line:#e3e4e0;--accent:#2357c5;${colours(0)}}
@media(prefers-color-scheme:dark){:root{--paper:#14171c;--card:#1b1f26;--ink:#e7e9ec;--quiet:#9aa4b1;--line:#2e343d;--accent:#82aaff;${colours(1)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
main,header,footer{max-width:1180px;margin:0 auto;padding:0 clamp(16px,4vw,40px)}
header{padding-top:clamp(28px,6vw,64px)}
.kind{margin:0;color:var(--quiet);font-size:13px;letter-spacing:.09em;text-transform:uppercase}
h1,h2{font-family:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,serif;font-weight:600;text-wrap:balance}
h1{margin:.15em 0 .3em;font-size:clamp(28px,5vw,44px);line-height:1.12;overflow-wrap:anywhere}
h2{margin:0 0 18px;font-size:24px;line-height:1.25}
h3{margin:0;font:600 14px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
section{margin-top:clamp(40px,6vw,64px);padding-top:20px;border-top:1px solid var(--line)}
nav{margin:18px 0 0;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:14px}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:3px}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px}
.note{color:var(--quiet);font-size:14px;margin:8px 0}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
.scroll+.scroll{margin-top:26px}
table{border-collapse:collapse;font-size:15px;min-width:100%}
th,td{padding:7px 20px 7px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th{font-weight:600}
thead th{color:var(--quiet);font-weight:500;font-size:13px;vertical-align:bottom}
th:first-child,td:first-child,table.words th,table.words td{text-align:left}
table.words td{text-align:left}
table.words th,table.words td{text-align:left}
table.words td{white-space:normal;overflow-wrap:anywhere;min-width:9em}
tbody tr:last-child>*{border-bottom-color:transparent}
.swatch{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:9px;background:currentColor}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:18px 32px;align-items:start}
.beside>*{min-width:0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:18px}
figure{margin:0;min-width:0}
.chart,.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px 10px}
.chart svg{display:block;width:100%;height:auto;max-width:760px;touch-action:pan-y}
.chart output{display:block;min-height:20px;color:var(--quiet);font-size:13px;line-height:20px;overflow-wrap:anywhere}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:6px 0 8px;padding:0;font-size:13px;color:var(--quiet)}
.legend li{overflow-wrap:anywhere}
.legend b{color:var(--ink);font-weight:600;margin-left:3px}
.legend i{display:inline-block;width:18px;border-top:3px solid;margin-right:7px;vertical-align:middle}
.legend i.dash{border-top-style:dashed}
.mark{display:none;stroke:var(--quiet);stroke-dasharray:2 3}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,320px),1fr));gap:18px}
.kindof{margin:26px 0 12px;font:600 16px/1.4 system-ui,sans-serif}
.over-time{display:grid;gap:10px;margin-top:10px}
.over-time figcaption,.sheet figcaption{color:var(--quiet);font-size:13px;overflow-wrap:anywhere}
img{display:block;max-width:100%;height:auto;border-radius:4px}
img.pixels{image-rendering:pixelated}
.sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(92px,1fr));gap:10px;margin-top:10px}
.sheet img{width:100%}
details{margin-top:14px}
summary{cursor:pointer;font-weight:600}
summary+*{margin-top:14px}
pre{margin:14px 0 0;padding:14px 16px;overflow:auto;max-height:460px;background:var(--card);border:1px solid var(--line);border-radius:8px;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{margin-top:64px;padding-bottom:40px;color:var(--quiet);font-size:13px}
@media(max-width:560px){.chart,.card{padding:12px 12px 8px}.chart svg{font-size:16px}th,td{padding-right:14px}}
@media print{body{background:#fff}.chart,.card{break-inside:avoid}}
`;
