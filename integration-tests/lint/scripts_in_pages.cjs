// ESLint processor: extracts the scripts of a page, each at its line and column in the page.

module.exports = {
  meta: { name: "scripts-in-pages" },
  supportsAutofix: false,
  preprocess(text) {
    const scripts = [];
    for (const { 0: found, 1: attributes, 2: script, index } of text.matchAll(SCRIPT)) {
      if (/\bsrc\s*=/.test(attributes)) continue;
      const before = text.slice(0, index + found.indexOf(">") + 1);
      // The text before it becomes blanks; line breaks stay.
      scripts.push({ text: before.replace(/[^\n]/g, " ") + script, filename: `${scripts.length}.js` });
    }
    return scripts;
  },
  postprocess: (messages) => messages.flat(),
};

const SCRIPT = /<script\b([^>]*)>([^]*?)<\/script>/g;
