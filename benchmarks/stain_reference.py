"""Make the built-in stain reference: the median Vahadane fit of a folder of SPCN-normalised tile images.

    python benchmarks/stain_reference.py FOLDER

FOLDER holds the example tiles published with the 2021 sarcoma study (1024 px JPEG). Prints what stands in
preprocessing/colour/stain.py as REFERENCE.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path[0] = str(Path(__file__).resolve().parents[1])

from preprocessing.colour.stain import fit_stain
from preprocessing.colour.stain_matrix import unit_rows

PATCH_PX = 256


def main(folder: Path) -> None:
    fits = []
    for path in sorted(folder.glob("*.jpg")):
        image = np.asarray(Image.open(path).convert("RGB"))
        rows, columns = (range(0, side - PATCH_PX + 1, PATCH_PX) for side in image.shape[:2])
        fit = fit_stain([image[y : y + PATCH_PX, x : x + PATCH_PX] for y in rows for x in columns], method="vahadane")
        if fit.fallback:
            print(f"{path.name}: {fit.fallback}")
            continue
        fits.append(fit)
    print(f"{len(fits)} images")
    print("matrix", unit_rows(np.median([fit.matrix for fit in fits], axis=0)).round(4).tolist())
    print("p99   ", np.median([fit.p99 for fit in fits], axis=0).round(4).tolist())
    print("lab   ", np.median([fit.lab for fit in fits], axis=0).round(2).tolist())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
