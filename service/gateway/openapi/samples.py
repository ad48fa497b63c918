"""The commands that ask what the API's description shows, ready to paste into a shell."""

import json
from collections.abc import Mapping
from shlex import quote
from typing import Any

Json = dict[str, Any]


def samples(
    method: str, url: str, query: str, base_url: str, body: Mapping[str, Json], needs_key: bool, changes: bool
) -> list[Json]:
    """A command with curl for each example of a body, or one for an operation without a body.

    Args:
        method: of HTTP.
        url: of the operation, with the parameters of its path filled in.
        query: what to add to it where an image is sent: query parameters are for those.
        base_url: of the service; ends with a slash.
        body: what it takes, by media type.
        needs_key: whether it needs an API key, which is then taken from a variable of the shell.
        changes: whether it changes what is served.

    Returns:
        Entries of OpenAPI's widespread extension `x-codeSamples`; the label is the name of the body's example, or else
        of the answer's, `one`. `x-request` has the same in parts, for the page that sends it: `method`, `path` (from
        `base_url`), `type` and `body` (a text) or `image` (a path) where there is a body, and `changes`.
    """
    key = '-H "X-API-Key: $SIGNPOST_API_KEY" ' if needs_key else ""

    def sample(label: str, command: str, path: str, **sent: str) -> Json:
        request = {"method": method, "path": path.removeprefix(base_url), "changes": changes, **sent}
        return {"lang": "Shell", "label": label, "source": command, "x-request": request}

    if not body:
        return [sample("one", f"curl {key}{quote(url)}", url)] if method == "GET" else []
    found = []
    for kind, media in body.items():
        for name, example in media.get("examples", {}).items():
            if "externalValue" in example:
                image = quote(f"{base_url}{example['externalValue']}")
                command = f"curl -s {image} |\n  curl {key}--data-binary @- {quote(url + query)}"
                found.append(sample(name, command, url + query, image=example["externalValue"]))
            elif kind == "application/json":
                command = f"curl {key}--json {quote(json.dumps(example['value']))} \\\n  {quote(url)}"
                text = json.dumps(example["value"], indent=2, ensure_ascii=False)
                found.append(sample(name, command, url, type=kind, body=text))
            else:
                sent = f"-H {quote(f'Content-Type: {kind}')} --data-binary {quote(example['value'])}"
                command = f"curl {key}{sent} \\\n  {quote(url)}"
                found.append(sample(name, command, url, type=kind, body=example["value"]))
    return found
