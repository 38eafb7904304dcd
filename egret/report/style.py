"""The look of a page and the little that it does by itself."""

from egret.report.html import Markup, el

# Nothing may be loaded from anywhere: a browser holds the page to it. Sounds may come from `media` besides.
POLICY = (
    "default-src 'none'; img-src data:; media-src data:{media}; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
BESIDE = " 'self' file:"  # recordings on the same disk, or of the same server

# Colours of errors after Okabe and Ito (2008), which the colour-blind tell apart; lines and letters say the same.
STYLE = """
:root { color-scheme: light dark; --back: #fff; --card: #f6f7f9; --text: #1b1f24; --soft: #5b6470; --line: #d5dae1;
  --one: #0072b2; --two: #d55e00; --s: #b34a00; --d: #0060a0; --i: #00704f;
  --s-back: #fbe5d6; --d-back: #dcebf7; --i-back: #d8f0e6; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --card: #1d2127; --text: #e6e9ee; --soft: #9aa4b1; --line: #363d47; --one: #56b4e9;
    --two: #f0a050; --s: #ffb27a; --d: #8ccaf5; --i: #6fd9b3; --s-back: #4a2a12; --d-back: #173a56; --i-back: #0f4434; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.45 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 16px; }
h1, h2, h3, h4, p, dd { overflow-wrap: anywhere; }
h1 { margin: 8px 0; font-size: 1.7rem; }
h2 { margin: 36px 0 8px; font-size: 1.3rem; border-bottom: 1px solid var(--line); padding-bottom: 4px; }
h3 { margin: 24px 0 8px; font-size: 1.05rem; }
h4 { margin: 0; font-size: 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); gap: 8px 20px;
  margin: 12px 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--soft); padding: 4px 0; }
pre { overflow-x: auto; background: var(--card); padding: 12px; border-radius: 6px; font-size: .8rem; }
.note, .facts { color: var(--soft); font-size: .9rem; margin: 6px 0; }
.wide { overflow-x: auto; max-width: 100%; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; }
th.n, td.n { text-align: right; }
tr.best td { font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); gap: 16px; }
.charts figure { margin: 0; max-width: 480px; }
figcaption { font-weight: 600; font-size: .95rem; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: 16px;
  align-items: start; }
svg { display: block; }
.chart svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 11px; }
.grid { stroke: var(--line); }
.bars rect { fill: var(--one); }
.bars .whisker { stroke: var(--text); stroke-width: 1.5; }
.bars .mark { stroke: var(--two); stroke-width: 2.5; }
.bars text.name { fill: var(--text); }
polyline { fill: none; stroke-width: 1.8; }
polyline.one { stroke: var(--one); }
polyline.two { stroke: var(--two); stroke-dasharray: 5 3; }
polyline.faint { stroke: var(--soft); stroke-width: 1; opacity: .55; }
.band { opacity: .18; }
polygon.one, circle.one { fill: var(--one); }
polygon.two, circle.two { fill: var(--two); }
polygon.faint { fill: var(--soft); }
img.attention { display: block; width: 100%; aspect-ratio: 1; margin-top: 4px; image-rendering: pixelated; }
.key { margin: 2px 0; font-size: .85rem; color: var(--soft); display: flex; flex-wrap: wrap; gap: 2px 16px; }
.key i { display: inline-block; width: 22px; margin-right: 6px; vertical-align: middle;
  border-top: 3px solid var(--soft); }
.key i.one { border-color: var(--one); }
.key i.two { border-color: var(--two); border-top-style: dashed; }
article { background: var(--card); border-radius: 8px; padding: 14px; margin: 14px 0; }
.words { display: flex; flex-wrap: wrap; gap: 6px 4px; margin: 8px 0; }
.w { display: inline-flex; flex-direction: column; padding: 1px 5px; border-radius: 4px; line-height: 1.35;
  max-width: 100%; overflow-wrap: anywhere; vertical-align: middle; }
.w b { font-size: .7rem; height: 1.1em; text-align: center; }
.w.label { color: var(--soft); padding-left: 0; font-size: .9em; }
.w i { font-size: .7rem; font-style: normal; height: 1.3em; text-align: center; color: var(--soft); }
.w i.doubt { color: var(--two); font-weight: 600; }
.r.out { border-bottom: 2px dotted var(--two); }
.gap { color: var(--soft); text-align: center; }
.w.s { background: var(--s-back); } .w.s b { color: var(--s); }
.w.s .h { text-decoration: underline wavy var(--s) 1px; text-underline-offset: 3px; }
.w.d { background: var(--d-back); } .w.d b { color: var(--d); }
.w.d .r { text-decoration: line-through var(--d) 2px; }
.w.i { background: var(--i-back); } .w.i b { color: var(--i); }
.w.i .h { text-decoration: underline double var(--i); text-underline-offset: 3px; }
audio { display: block; width: 100%; max-width: 420px; height: 40px; margin: 6px 0 10px; }
.picture { cursor: pointer; }
.picture text { fill: var(--text); }
.picture .title { fill: var(--soft); font-style: italic; }
.picture rect { fill: var(--one); }
.picture rect.unsure { stroke: var(--two); stroke-dasharray: 3 2; }
.tick { stroke: var(--soft); }
.cursor { stroke: #ff3b6b; stroke-width: 2; visibility: hidden; }
.playing .cursor { visibility: visible; }
footer { margin-top: 36px; font-size: .9rem; color: var(--soft); }
footer .w { color: var(--text); }
"""

# While a sound plays a line runs over its picture, and a touch on the picture plays from there.
SCRIPT = """
for (const card of document.querySelectorAll('article')) {
  const audio = card.querySelector('audio'), box = card.querySelector('.picture');
  if (!audio || !box) continue;
  const svg = box.querySelector('svg'), cursor = box.querySelector('.cursor'), second = Number(svg.dataset.second);
  let frame = 0;
  const move = () => {
    cancelAnimationFrame(frame);  /* a touch while it plays would begin a second one */
    const x = audio.currentTime * second;
    cursor.setAttribute('transform', `translate(${x} 0)`);
    box.classList.add('playing');
    if (x < box.scrollLeft || x > box.scrollLeft + box.clientWidth - 20) box.scrollLeft = x - 40;
    if (!audio.paused) frame = requestAnimationFrame(move);
  };
  audio.addEventListener('play', move);
  audio.addEventListener('seeked', move);
  svg.addEventListener('click', event => {
    audio.currentTime = (event.clientX - svg.getBoundingClientRect().left) / second;
    audio.play();
  });
}
"""


def document(title: str, content: list[Markup], script: str = "", media: str = "") -> str:
    """A whole page that needs no other file, but for the sounds that it may have from `media`."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY.format(media=media)),
        el("title", title),
        el("style", Markup(STYLE)),
    )
    body = el("body", el("main", content), el("script", Markup(script)) if script else [])
    return f"<!DOCTYPE html>\n{el('html', head, body, lang='en')}\n"
