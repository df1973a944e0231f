// What else the model might have written at a position, and how undecided it was: of its own distribution there, at
// temperature 1, before top-p.

const NAT = 1000; // Logarithms come in thousandths of a nat.

/** @param {NonNullable<Sent["alternatives"]>} packed @returns {Alternatives} */
function readAlternatives({ counts, entropies, named, surprises, ids, texts }) {
  return {
    starts: startsOf(counts),
    entropies: unpack(entropies),
    named: unpack(named),
    surprises: unpack(surprises),
    ids: unpack(ids),
    texts,
  };
}

// Likeliest first; null where they are not known, as in a prompt.
/** @param {Facts} facts @param {number} position */
function alternativesAt({ alternatives }, position) {
  if (!alternatives) return null;
  const { starts, named, surprises, ids, texts } = alternatives;
  const found = [];
  for (let at = starts[position]; at < starts[position + 1]; at++) {
    const token = named[at];
    found.push({ id: ids[token], text: texts[token], share: Math.exp(-surprises[at] / NAT) });
  }
  return found.length ? found : null;
}

/** @param {View} view @param {number} position @returns {HTMLElement[]} */
function alternativeRows(view, position) {
  const { facts } = view;
  if (facts.segments[position] === "prompt" && !alternativesAt(facts, position)) return [];
  const rows = element("div", "others");
  const found = alternativesAt(facts, position);
  if (!found) rows.append(element("div", "none", "What else was likely here is not stored."));
  for (const { id, text, share } of found ?? []) {
    const isWritten = id === facts.ids[position];
    const name = isWritten ? "other written" : "other";
    const row = facts.branches ? branchButton(name, position, id) : element("div", name);
    row.style.setProperty("--part", share.toFixed(3));
    row.title = `token ${id}${isWritten ? ", which stands here" : ""}${facts.branches ? ": branch from here with it" : ""}`;
    row.append(element("span", "word", toldAs([text], [text], 0)), element("span", "value", percent(share)));
    rows.append(row);
  }
  if (facts.branches) {
    const other = branchButton("branch", position);
    other.append("Branch from here …");
    rows.append(other);
  }
  return [rows];
}

/** @param {string} name @param {number} position @param {number} [id] of the token to put there */
function branchButton(name, position, id) {
  const button = element("button", name);
  button.type = "button";
  button.dataset.branch = id === undefined ? String(position) : `${position} ${id}`;
  return button;
}

/** @param {Facts} facts @param {number} position */
function entropyAt({ alternatives }, position) {
  return alternatives && alternatives.starts[position + 1] > alternatives.starts[position]
    ? alternatives.entropies[position] / NAT
    : NaN;
}
