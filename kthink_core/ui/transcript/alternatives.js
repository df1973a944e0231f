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
  const found = alternativesAt(facts, position);
  if (!found) {
    const isGiven = Number.isNaN(facts.probabilities[position]);
    return isGiven ? [] : [element("div", "none", "what else was likely here is not stored")];
  }
  const rows = element("div", "others");
  for (const { id, text, share } of found) {
    const isWritten = id === facts.ids[position];
    const row = element("div", isWritten ? "other written" : "other");
    row.style.setProperty("--part", share.toFixed(3));
    row.title = isWritten ? `token ${id}, which stands here` : `token ${id}`;
    row.append(element("span", "word", toldAs([text], [text], 0)), element("span", "value", percent(share)));
    rows.append(row);
  }
  return [rows];
}

/** @param {Facts} facts @param {number} position */
function entropyAt({ alternatives }, position) {
  return alternatives && alternatives.starts[position + 1] > alternatives.starts[position]
    ? alternatives.entropies[position] / NAT
    : NaN;
}
