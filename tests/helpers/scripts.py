"""Every script of the project."""

SCRIPTS = (
    "preprocessing/make_demo_study.py",
    "preprocessing/tile_slides.py",
    "preprocessing/check_study.py",
    "preprocessing/make_contact_sheet.py",
    "preprocessing/make_stain_reference.py",
    "preprocessing/export_tiles.py",
    "features/extract_features.py",
    "features/encoders.py",
    "features/convert_features.py",
    "splits/make_splits.py",
    "mil/train.py",
    "mil/evaluate.py",
    "mil/predict.py",
    "mil/explain.py",
    "mil/serve.py",
    "mil/show_results.py",
    "mil/clinical.py",
)
