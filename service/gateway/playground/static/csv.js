// The answers as a table in CSV (RFC 4180), for spreadsheets and programs.

const OF_AN_ANSWER = ["model", "version", "class", "score", "in_domain", "milliseconds", "error"];

/** A line for each image; with two targets the second's columns begin with `other_`, and `same_class` says whether they agree. */
export function toCsv(items) {
  const several = items.some(({ answers }) => answers.length > 1);
  const other = several ? [...OF_AN_ANSWER.map((name) => `other_${name}`), "same_class"] : [];
  const lines = items.map(({ name, answers }) => {
    const [first, second] = answers;
    if (!several) return [name, ...fields(first)];
    const both = [first, second].every((answer) => answer?.state === "answered");
    return [name, ...fields(first), ...fields(second), both ? first.prediction.class === second.prediction.class : ""];
  });
  return [["image", ...OF_AN_ANSWER, ...other], ...lines].map((line) => `${line.map(quoted).join(",")}\r\n`).join("");
}

function fields(answer) {
  const { target, model, prediction, ms, failure } = answer ?? {};
  if (prediction && !failure) {
    const { class: found, score, in_domain: known } = prediction;
    return [model.name, model.version, found ?? "", score, known ?? "", ms.toFixed(1), ""];
  }
  return [target?.model ?? "", "", "", "", "", "", failure?.message ?? "not answered yet"];
}

const quoted = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
