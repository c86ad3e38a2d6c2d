"""Tiles to embeddings: a frozen CNN, its runtimes, the tile stream and the feature files."""

from common.public_names import lazily

_PLACES = {  # name: the module that has it
    "ConversionConfig": "features.exchange.conversion",
    "EncoderCard": "features.encoder.card",
    "ExtractionConfig": "features.embedding.extraction_settings",
    "FeatureBag": "features.store.feature_store",
    "FeatureFolder": "features.exchange.folder",
    "ListConfig": "features.encoder.listing",
    "Provenance": "features.store.provenance",
    "convert_study": "features.exchange.study_conversion",
    "embed_study": "features.embedding.study_embedding",
    "encoder_table": "features.encoder.listing",
    "find_card": "features.encoder.registry",
    "list_encoders": "features.encoder.listing",
    "open_folder": "features.exchange.folder",
    "read_feature_bag": "features.store.feature_store",
    "write_feature_bag": "features.store.feature_store",
}
__all__ = list(_PLACES)
__getattr__, __dir__ = lazily(__name__, _PLACES)
