"""Under which licences published archives come, for the model card of what is trained on them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MORONEY: Final = "CC BY 2.0, Laurence Moroney"

# By the name of the archive or folder, without what stands behind its point.
LICENCES: Final = {
    "rps": _MORONEY,
    "rps-test-set": _MORONEY,
    "rps_photos": "people: CDLA-Sharing-1.0, KAUST; green screens: CC BY-SA 4.0, J. de Bruijn",
    "letters_photos": "davidlee: public domain; massey: CC0; kept: Apache-2.0; seeel, rahman, meyyappan: MIT",
    "sign_mnist": "CC0, Sign Language MNIST",
    "cats_vs_dogs": "for research (Asirra), no open licence",
    "pets_photos": "CC BY-SA 4.0, Oxford-IIIT Pet",
    "cifar10_sheets": "none stated, Krizhevsky 2009",
    "mnist": "CC BY-SA 3.0",
    "fashion_mnist": "MIT, Zalando",
    "mobilenet_0": "Apache-2.0, Keras",
    "efficientnet-lite0-57934424": "Apache-2.0, ML Illustrated",
}


def licences(paths: Iterable[Path]) -> dict[str, str]:
    """The licences of the sources that are known, by their names."""
    return {path.name: LICENCES[key] for path in paths if (key := path.name.split(".")[0]) in LICENCES}
