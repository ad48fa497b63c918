"""What `pyproject.toml` can't say about the wheel: links that lead somewhere from PyPI, and the first model.

`signpost init` copies that model, so that an installation without a checkout has something to serve.
"""

import re
import shutil
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
# What a first service is made of, and where it lies in the package.
FIRST_MODEL = {
    "model_store/sign_language": "service/commands/starter/sign_language",
    "docs/images/hand_y.png": "service/commands/starter/hand_y.png",
}


def absolute_links(text: str, address: str) -> str:
    """The README with addresses that don't depend on where it is read."""
    raw = address.replace("github.com", "raw.githubusercontent.com")
    text = re.sub(r'(!\[[^]]*\]\(|<img src=")(?!https?:)', rf"\g<1>{raw}/main/", text)
    return re.sub(r"(?<!\!)(\[[^]]*\]\()(?!https?:|#|mailto:)", rf"\g<1>{address}/blob/main/", text)


class BuildWithFirstModel(build_py):
    """Puts the first model beside the command that copies it; the container's builder has no model here."""

    def run(self) -> None:
        """Copy what there is."""
        super().run()
        if self.editable_mode:
            return  # the command finds them in the checkout
        for source, target in FIRST_MODEL.items():
            at = Path(self.build_lib, target)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, at, dirs_exist_ok=True)
            elif (ROOT / source).is_file():
                shutil.copyfile(ROOT / source, at)


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    setup(
        long_description=absolute_links((ROOT / "README.md").read_text("utf-8"), project["urls"]["Homepage"]),
        long_description_content_type="text/markdown",
        cmdclass={"build_py": BuildWithFirstModel},
    )
