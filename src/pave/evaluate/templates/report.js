"use strict";
// Texts of records and answers are only ever given to textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 40; // clips added at a time

// "1 clip", "2 clips"
const counted = (number, one) => `${number} ${one}${number === 1 ? "" : "s"}`;
const ALL = "all";
let outcome = "";
let shown = PAGE;

const find = (selector) => document.querySelector(selector);

function make(name, text = "", className = "") {
  const element = document.createElement(name);
  if (text !== "") element.textContent = text;
  if (className) element.className = className;
  return element;
}

function fillSelect(select, pairs, chosen) {
  for (const [value, text] of pairs) select.append(new Option(text, value, false, value === chosen));
}

const signed = (points) => (points < 0 ? "−" : "+") + Math.abs(points).toFixed(1);

// ---- What a question's two scores say

function outcomeOf(question) {
  const ours = question.scores[find("#ours").value];
  const theirs = question.scores[find("#theirs").value];
  if (ours === null || theirs === null || ours === undefined || theirs === undefined) return "unjudged";
  if (ours > theirs) return "gained";
  if (ours < theirs) return "lost";
  if (!data.right) return "same";
  return ours === 1 ? "right" : "wrong";
}

function outcomeTitles() {
  const ours = find("#ours").value, theirs = find("#theirs").value;
  if (!data.right) return { gained: `${ours} scores higher`, lost: `${theirs} scores higher`, same: "same score", unjudged: "not scored one by one" };
  return { gained: `${ours} right, ${theirs} wrong`, lost: `${theirs} right, ${ours} wrong`, right: "both right", wrong: "both wrong", unjudged: "not scored one by one" };
}

// ---- Differences

function drawChart() {
  const ours = find("#ours").value, theirs = find("#theirs").value;
  const rows = [];
  for (const gap of data.gaps) {
    const turned = gap.a === theirs && gap.b === ours ? -1 : 1;
    if (turned === 1 && (gap.a !== ours || gap.b !== theirs)) continue;
    let ends = gap.ends && gap.ends.map((end) => turned * end);
    if (ends && turned < 0) ends.reverse();
    rows.push({ ...gap, points: turned * gap.points, ends });
  }
  find("#differences").hidden = rows.length === 0;
  const chart = find("#differences .chart");
  chart.replaceChildren();
  if (!rows.length) return;
  find("#differences .note").textContent =
    `${ours} minus ${theirs}, in points, with 95 % intervals over whole clips. A pale row's interval holds zero: nothing is shown there.`;
  const reach = rows.flatMap((row) => row.ends || [row.points]);
  const step = niceStep(Math.max(...reach, 0) - Math.min(...reach, 0));
  const low = Math.floor(Math.min(...reach, 0) / step) * step, high = Math.ceil(Math.max(...reach, 0) / step) * step || step;
  const place = (points) => `${(100 * (points - low)) / (high - low)}%`;
  const scores = new Set(rows.map((row) => row.score));
  for (const row of rows) {
    const line = make("div");
    const title = data.titles[row.label] || row.label;
    const name = make("span", scores.size > 1 ? `${title}, ${row.score} ` : `${title} `, title === row.label && row.label !== ALL ? "" : "wide");
    name.append(make("span", row.n === null ? "" : `n=${row.n}`, "n"));
    const scale = make("div", "", "scale");
    for (let tick = low; tick <= high + step / 2; tick += step) scale.append(at("s", place(tick), Math.abs(tick) < step / 2 ? "zero" : ""));
    if (row.ends) {
      const bar = at("i", place(row.ends[0]), "");
      bar.style.right = `calc(100% - ${place(row.ends[1])})`;
      scale.append(bar);
    }
    scale.append(at("b", place(row.points), ""));
    if (!row.ends || (row.ends[0] <= 0 && row.ends[1] >= 0)) line.className = "open";
    let text = signed(row.points);
    if (row.ends) text += ` (${signed(row.ends[0])} to ${signed(row.ends[1])})`;
    if (row.clips !== null && row.clips < data.enough) text += " *";
    line.append(name, scale, make("span", text));
    chart.append(line);
  }
  const axis = make("div", "", "axis");
  const scale = make("div", "", "scale");
  for (let tick = low; tick <= high + step / 2; tick += step) {
    const mark = at("span", place(tick), "");
    mark.textContent = String(Math.round(tick));
    scale.append(mark);
  }
  axis.append(make("span"), scale, make("span"));
  chart.append(axis);
}

function at(name, left, className) {
  const element = make(name, "", className);
  element.style.left = left;
  return element;
}

function niceStep(range) {
  for (const step of [1, 2, 5, 10, 20, 25, 50]) if (range / step <= 6) return step;
  return 100;
}

// ---- The contact sheet

function asksFor(question) {
  const label = find("#label").value;
  if (label !== ALL && !question.labels.includes(label)) return false;
  const words = find("#words").value.trim().toLowerCase();
  if (!words) return true;
  const texts = [question.id, question.asked, ...question.expected, ...Object.values(question.said)];
  return texts.some((text) => text.toLowerCase().includes(words));
}

function drawSheet() {
  const counts = {};
  const matching = [];
  for (const clip of data.clips) {
    const questions = [];
    for (const question of clip.questions) {
      if (!asksFor(question)) continue;
      const own = outcomeOf(question);
      counts[own] = (counts[own] || 0) + 1;
      if (!outcome || own === outcome) questions.push(question);
    }
    if (questions.length) matching.push({ clip, questions });
  }
  drawOutcomes(counts);
  const asked = matching.reduce((sum, one) => sum + one.questions.length, 0);
  find(".count").textContent = `${counted(asked, "question")} about ${counted(matching.length, "clip")}`;
  find(".clips").replaceChildren(...matching.slice(0, shown).map(card));
  find("#more").hidden = matching.length <= shown;
}

function drawOutcomes(counts) {
  const buttons = [];
  for (const [name, title] of Object.entries({ ...outcomeTitles(), "": "all" })) {
    if (name === "unjudged" && !counts.unjudged) continue;
    const count = name ? counts[name] || 0 : Object.values(counts).reduce((sum, one) => sum + one, 0);
    const button = make("button", `${title} (${count})`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(outcome === name));
    button.dataset.outcome = name;
    button.addEventListener("click", () => { outcome = name; again(); });
    buttons.push(button);
  }
  find(".outcomes").replaceChildren(...buttons);
}

function card({ clip, questions }) {
  const article = make("article");
  article.append(make("h3", clip.name));
  for (const strip of clip.media.strips) {
    const figure = make("figure");
    const image = make("img");
    image.src = strip.source;
    image.alt = `Frames of ${clip.name}, ${strip.title}`;
    image.loading = "lazy";
    figure.append(image, make("figcaption", `${strip.title}: ${strip.times.map((time) => `${time.toFixed(1)} s`).join(", ")}`));
    article.append(figure);
  }
  if (clip.media.sound) {
    const player = make("audio");
    player.controls = true;
    player.preload = "none";
    player.src = clip.media.sound;
    player.title = `Sound of ${clip.name}`;
    article.append(player);
  }
  for (const problem of clip.media.problems) article.append(make("p", problem, "warning"));
  for (const question of questions) article.append(answers(question));
  return article;
}

function answers(question) {
  const block = make("div", "", "question");
  const list = make("dl");
  const asked = make("p", question.asked, "asked");
  asked.append(make("small", ` ${question.labels.join(" / ")}`));
  block.append(asked, list);
  if (question.options.length) list.append(make("dt", "options"), make("dd", question.options.join(" | ")));
  list.append(make("dt", "expected"), make("dd", question.expected.join(" | ")));
  const two = [find("#ours").value, find("#theirs").value];
  for (const arm of [...two, ...data.arms.filter((arm) => !two.includes(arm))]) {
    const score = question.scores[arm];
    let mark = "";
    if (data.right) mark = score === 1 ? "right" : "wrong";
    const text = data.right || score === null ? question.said[arm] : `${question.said[arm]} (${(100 * score).toFixed(0)})`;
    list.append(make("dt", arm), make("dd", text || "(nothing)", two.includes(arm) ? mark : `${mark} other`));
  }
  return block;
}

// ---- Start

function again() {
  shown = PAGE;
  drawSheet();
}

function start() {
  const arms = data.arms.map((arm) => [arm, arm]);
  fillSelect(find("#ours"), arms, data.arms[data.arms.length - 1]);
  fillSelect(find("#theirs"), arms, data.arms[0]);
  fillSelect(find("#label"), Object.entries({ [ALL]: "all questions", ...data.titles }), ALL);
  const left = data.total - data.clips.length;
  const asked = data.clips.reduce((sum, clip) => sum + clip.questions.length, 0);
  find("#sheet .note").textContent = left
    ? `${asked} of ${data.asked} questions, about ${data.clips.length} of ${data.total} clips: those on which the arms differ most. The counts below are of these; the chart and the table count all. pave report --questions ${data.asked} shows all.`
    : `${counted(data.asked, "question")} about ${counted(data.total, "clip")}.`;
  outcome = data.right || data.gaps.length ? "gained" : "";
  for (const name of ["#ours", "#theirs"]) find(name).addEventListener("change", () => { drawChart(); again(); });
  find("#label").addEventListener("change", again);
  find("#words").addEventListener("input", again);
  find("#more").addEventListener("click", () => { shown += PAGE; drawSheet(); });
  find("#choice").hidden = data.arms.length < 2;
  find("#sheet").hidden = data.clips.length === 0;
  drawChart();
  if (data.arms.length < 2) outcome = "";
  drawSheet();
}

start();
