"""What a model can start from. Imports nothing, so that help can name it at once."""

ARMS = {
    "pretrained": "everything from the pre-trained model, everything trained",
    "scratch": "everything random, everything trained",
    "frozen-embedding": "random, but for the pre-trained embedding and unembedding, frozen (one matrix where they are tied)",
    "frozen-input": "random, but for the pre-trained embedding, frozen; unembedding its own, trained",
    "frozen-output": "random, but for the pre-trained unembedding, frozen; embedding its own, trained",
    "planted-embedding": "random, but for an embedding that writes each number as waves of period 2, 5, 10, 100 and a magnitude, frozen",
    "random-embedding": "random, but for Gaussian rows of the pre-trained rows' lengths as embedding, frozen",
}
"""Name of an arm -> what the model starts from."""
