// ESLint processor: takes the scripts out of a page, each at the line and column at which it stands there.

module.exports = {
  meta: { name: "scripts-in-pages" },
  supportsAutofix: false,
  preprocess(text) {
    const scripts = [];
    for (const { 0: found, 1: attributes, 2: script, index } of text.matchAll(SCRIPT)) {
      if (/\bsrc\s*=/.test(attributes)) continue;
      const before = text.slice(0, index + found.indexOf(">") + 1);
      // Everything before it is blank, but for its line breaks.
      scripts.push({ text: before.replace(/[^\n]/g, " ") + script, filename: `${scripts.length}.js` });
    }
    return scripts;
  },
  postprocess: (messages) => messages.flat(),
};

const SCRIPT = /<script\b([^>]*)>([^]*?)<\/script>/g;
