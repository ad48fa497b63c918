// The same request from a shell, from Python and from JavaScript; each is a function of an address and names of files.

const forShell = (text) => (/^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
// In a form curl ends a name at a comma or semicolon, unless it stands in quotes.
const forCurlsForm = (name) => (/[,;"\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name);
// JSON's strings are Python's and JavaScript's too.
const quoted = (text) => JSON.stringify(text);

// The key itself stays out of what is copied.
const needsKey = "needsKey" in document.body.dataset;
const KEY_FOR_SHELL = needsKey ? '-H "X-API-Key: $SIGNPOST_API_KEY" \\\n' : "";

function curl(url, names) {
  if (names.length === 1) return `curl ${KEY_FOR_SHELL}--data-binary ${forShell(`@${names[0]}`)} \\\n${forShell(url)}`;
  const forms = names.map((name) => `-F ${forShell(`image=@${forCurlsForm(name)}`)}`);
  return `curl ${KEY_FOR_SHELL}${forms.join(" \\\n")} \\\n${forShell(url)}`;
}

function python(url, names) {
  const files = names.map((name) => `open(${quoted(name)}, "rb")`);
  const headers = needsKey ? ", headers=headers" : "";
  const sent =
    names.length === 1
      ? `with ${files[0]} as image:\n    answer = requests.post(url, data=image${headers})`
      : `files = [\n${files.map((file) => `    ("image", ${file}),\n`).join("")}]\n` +
        `answer = requests.post(url, files=files${headers})`;
  const imports = needsKey ? "import os\n\nimport requests" : "import requests";
  const key = needsKey ? 'headers = {"X-API-Key": os.environ["SIGNPOST_API_KEY"]}\n' : "";
  return (
    `${imports}\n\nurl = ${quoted(url)}\n${key}${sent}\nanswer.raise_for_status()\n` +
    `for found in answer.json()["predictions"]:\n    print(found.get("class"), found.get("score"))`
  );
}

/** For Node.js 20 and later; in a page the files come from an `<input type="file">`, and the rest is the same. */
function javascript(url, names) {
  const open = (name) => `await openAsBlob(${quoted(name)})`;
  const body =
    names.length === 1
      ? `const body = ${open(names[0])}; // in a page: input.files[0]\n`
      : `const body = new FormData();\n${names.map((name) => `body.append("image", ${open(name)}, ${quoted(name)});\n`).join("")}`;
  const headers = needsKey ? '\n  headers: { "X-API-Key": process.env.SIGNPOST_API_KEY },' : "";
  return (
    `import { openAsBlob } from "node:fs";\n\nconst url = ${quoted(url)};\n${body}` +
    `const answer = await fetch(url, {\n  method: "POST",${headers}\n  body,\n});\n` +
    "if (!answer.ok) throw new Error(await answer.text());\n" +
    "for (const found of (await answer.json()).predictions) {\n  console.log(found.class, found.score);\n}"
  );
}

export const LANGUAGES = { curl, python, javascript };

/** For a model that takes tensors. */
export const forTensors = (url) => `curl ${KEY_FOR_SHELL}--json '{"instances": […]}' \\\n${forShell(url)}`;
