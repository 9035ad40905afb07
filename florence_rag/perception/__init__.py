"""Models that read images and videos: captions, OCR, detection, actions, answers, reranking."""
