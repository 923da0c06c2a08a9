// The index's search: strop/papers/search.py once more, over fields that were brought into one spelling when the page was made.
"use strict";
const held = JSON.parse(document.getElementById("fields").textContent);
const WEIGHTS = held.weights, { whole: WHOLE, begins: BEGINS, inside: INSIDE, often: OFTEN } = held.tiers;
const list = document.getElementById("papers"), rows = [...list.children], form = document.querySelector(".find");
const said = document.getElementById("said"), other = document.querySelector("a.other"), there = other.getAttribute("href");

const plain = (text) => text.normalize("NFKC").toLowerCase().trim().replace(/\s+/g, " ").replace(/(?<=[가-힣]) (?=[가-힣])/g, "");
const words = (query) => [...new Set(query.split(/\s+/).map(plain).filter(Boolean))];
const joins = (letter) => /^[a-z0-9]$/.test(letter);

function earned(word, text) {
  const tier = (at) => joins(text.charAt(at - 1)) ? (word.length >= 3 ? INSIDE : 0) : joins(text.charAt(at + word.length)) ? BEGINS : WHOLE;
  const tiers = [], hangul = /[가-힣]/.test(word);
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) tiers.push(hangul ? WHOLE : tier(at));
  const hits = tiers.filter((value) => value > 0);
  return hits.length ? Math.max(...hits) * (1 + OFTEN * Math.min(hits.length - 1, 5)) : 0;
}

function score(query, fields) {
  const of = (word) => Math.max(...Object.keys(WEIGHTS).map((name) => WEIGHTS[name] * earned(word, fields[name])));
  const wanted = words(query), each = wanted.map(of);
  return [each.reduce((a, b) => a + b, 0) + (wanted.length > 1 ? of(plain(query)) : 0), each.filter((value) => value > 0).length];
}

function show() {
  const query = form.elements.q.value, asked = words(query).length > 0;
  const chosen = ["kind", "status", "verdict", "digest"].filter((key) => form.elements[key].value);
  const fits = (row) => chosen.every((key) => row.dataset[key].split(" ").includes(form.elements[key].value));
  let found = rows.filter(fits).map((row) => [row, ...(asked ? score(query, held.papers[row.id]) : [0, 0])]);
  if (asked) {
    const most = Math.max(0, ...found.map(([, , count]) => count));
    found = found.filter(([, , count]) => count === most && most > 0).sort((a, b) => b[1] - a[1]);
  }
  const kept = new Set(found.map(([row]) => row));
  rows.forEach((row) => { row.hidden = !kept.has(row); });
  list.append(...found.map(([row]) => row), ...rows.filter((row) => !kept.has(row)));
  said.textContent = kept.size ? held.words.some.replace("{}", kept.size).replace("{}", rows.length) : held.words.none;
  const state = new URLSearchParams([...new FormData(form)].filter(([, value]) => value)).toString();
  other.setAttribute("href", state ? `${there}#${state}` : there);
  return state;
}

for (const [key, value] of new URLSearchParams(location.hash.slice(1))) if (form.elements[key]) form.elements[key].value = value;
form.hidden = false;
show();
form.addEventListener("input", () => { const state = show(); history.replaceState(null, "", state ? `#${state}` : location.pathname); });
form.addEventListener("submit", (event) => event.preventDefault());
