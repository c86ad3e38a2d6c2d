"""What tissues and nuclei of the synthetic slides look like, in numbers.

Five tumours differ in what a pathologist looks at; stroma, fat and necrosis are the same in all of them.
"""

from dataclasses import dataclass

SUBTYPES = ("DDLPS", "LMS", "MFS", "SS", "UPS")


@dataclass(frozen=True, kw_only=True)
class Nucleus:
    """Shape of a kind of nucleus: half axes in µm, irregularity of its outline (0 round), stain amount."""

    length_um: float
    width_um: float
    irregularity: float
    density: float
    size_spread: float = 0.15


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a tissue kind looks like: ground densities, fibre strength and direction scale, nuclei a mm²."""

    eosin: float
    haematoxylin: float
    fibre: float
    turn_um: float  # over which distance fibres change direction
    is_fascicular: bool
    nuclei: tuple[tuple[str, float], ...]  # kind, number a mm²
    mottle: float = 0.08  # slow unevenness
    grain: float = 0.05  # fine unevenness


NUCLEI = {
    "fibroblast": Nucleus(length_um=7.0, width_um=1.4, irregularity=0.08, density=0.75),
    "cigar": Nucleus(length_um=7.5, width_um=2.3, irregularity=0.05, density=0.85),
    "small_round": Nucleus(length_um=3.7, width_um=2.9, irregularity=0.05, density=0.9, size_spread=0.06),
    "stellate": Nucleus(length_um=4.5, width_um=2.2, irregularity=0.3, density=0.8),
    "atypical": Nucleus(length_um=6.5, width_um=4.2, irregularity=0.22, density=1.05, size_spread=0.3),
    "giant": Nucleus(length_um=12.0, width_um=8.0, irregularity=0.35, density=1.15, size_spread=0.35),
    "lymphocyte": Nucleus(length_um=2.7, width_um=2.6, irregularity=0.04, density=1.15, size_spread=0.06),
    "mitosis": Nucleus(length_um=4.6, width_um=2.4, irregularity=0.5, density=2.1, size_spread=0.2),
    "ghost": Nucleus(length_um=4.5, width_um=3.5, irregularity=0.2, density=0.22, size_spread=0.3),
    "dust": Nucleus(length_um=1.1, width_um=0.9, irregularity=0.3, density=0.9, size_spread=0.4),
}

STROMA_LOOK = Look(
    eosin=0.50, haematoxylin=0.03, fibre=0.15, turn_um=420, is_fascicular=False,
    nuclei=(("fibroblast", 650.0), ("lymphocyte", 60.0)),
)  # fmt: skip
NECROSIS_LOOK = Look(
    eosin=0.45,
    haematoxylin=0.07,
    fibre=0.03,
    turn_um=300,
    is_fascicular=False,
    nuclei=(("dust", 2600.0), ("ghost", 350.0)),
    mottle=0.09,
    grain=0.13,
)
FAT_LOOK = Look(
    eosin=0.22, haematoxylin=0.01, fibre=0.04, turn_um=300, is_fascicular=False, nuclei=(("fibroblast", 90.0),)
)
HYALINE_LOOK = Look(
    eosin=0.62, haematoxylin=0.07, fibre=0.05, turn_um=500, is_fascicular=False, nuclei=(("fibroblast", 50.0),),
    mottle=0.06, grain=0.025,
)  # fmt: skip
MYXOID_LOOK = Look(
    eosin=0.20, haematoxylin=0.05, fibre=0.06, turn_um=160, is_fascicular=False,
    nuclei=(("stellate", 90.0), ("fibroblast", 60.0)), mottle=0.04, grain=0.03,
)  # fmt: skip
CRUSHED_LOOK = Look(  # its ground is the second haematoxylin's, too
    eosin=0.45, haematoxylin=0.0, fibre=0.12, turn_um=120, is_fascicular=False,
    nuclei=(("cigar", 900.0), ("fibroblast", 900.0)), mottle=0.1, grain=0.06,
)  # fmt: skip
# Benign tissue that shares the ground of a tumour, not its nuclei: what a pathologist has to look past.
LOOK_ALIKES = {
    "smooth_muscle": Look(  # of LMS
        eosin=0.72, haematoxylin=0.05, fibre=0.18, turn_um=280, is_fascicular=True,
        nuclei=(("fibroblast", 950.0), ("cigar", 250.0)),
    ),
    "loose_stroma": Look(  # of MFS
        eosin=0.14, haematoxylin=0.09, fibre=0.05, turn_um=240, is_fascicular=False,
        nuclei=(("fibroblast", 260.0), ("lymphocyte", 60.0)), mottle=0.05,
    ),
    "septal_fat": Look(  # of DDLPS
        eosin=0.42, haematoxylin=0.04, fibre=0.16, turn_um=200, is_fascicular=False,
        nuclei=(("fibroblast", 700.0), ("lymphocyte", 90.0)),
    ),
    "lymphoid": Look(  # of SS
        eosin=0.28, haematoxylin=0.05, fibre=0.07, turn_um=300, is_fascicular=False, nuclei=(("lymphocyte", 5200.0),),
    ),
    "granulation": Look(  # of UPS
        eosin=0.50, haematoxylin=0.05, fibre=0.18, turn_um=90, is_fascicular=False,
        nuclei=(("fibroblast", 800.0), ("lymphocyte", 450.0), ("stellate", 350.0)),
    ),
}  # fmt: skip
TUMOUR_LOOKS = {
    "DDLPS": Look(
        eosin=0.42, haematoxylin=0.04, fibre=0.16, turn_um=200, is_fascicular=False,
        nuclei=(("atypical", 800.0), ("fibroblast", 400.0)),
    ),
    "LMS": Look(eosin=0.74, haematoxylin=0.05, fibre=0.19, turn_um=260, is_fascicular=True, nuclei=(("cigar", 2300.0),)),
    "MFS": Look(
        eosin=0.13, haematoxylin=0.10, fibre=0.04, turn_um=240, is_fascicular=False, nuclei=(("stellate", 650.0),), mottle=0.05
    ),
    "SS": Look(
        eosin=0.30, haematoxylin=0.05, fibre=0.08, turn_um=300, is_fascicular=False, nuclei=(("small_round", 5600.0),)
    ),
    "UPS": Look(
        eosin=0.52, haematoxylin=0.05, fibre=0.18, turn_um=90, is_fascicular=False,
        nuclei=(("giant", 330.0), ("atypical", 750.0), ("small_round", 250.0)),
    ),
}  # fmt: skip
