"""A tokenizer of any small vocabulary, in Llama's order: specials, bytes, characters, merges, and what is added."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

UNK_ID, BOS_ID, EOS_ID = 0, 1, 2
IMAGE_TOKEN, PAD_TOKEN, VIDEO_TOKEN = "<image>", "<pad>", "<video>"
UNUSED_IDS = 8  # at least so many ids belong to no token, as in LLaVA-1.5 (32002 of 32064 are used)
MIN_VOCAB = 320  # 3 special tokens, 256 bytes, <image>, <pad>, the unused ids, and a few characters
CORPUS = (
    "A visual token is one patch of the image, projected into the space where the language model reads.",
    "What is in the picture? Describe the image in detail. How many people are there, what are they doing?",
    "The red car is on the left side of the street, behind the white bus, in front of a green house.",
    "Is there any text on the sign? Read the number on the door. What colour is the dog, and which breed?",
    "Two children are playing with a ball under the trees, an old man sits on the bench and reads the news.",
    "Answer the question using a single word or phrase. Yes. No. The person in the middle holds an umbrella.",
    "Pruning keeps the tokens that matter for the question, and completes them with ones that are not alike.",
    "USER: Where was this photo taken? ASSISTANT: It shows a kitchen with a table, three chairs and a clock.",
    "图中有什么。请详细描述这张图片。左边的红色汽车在白色公共汽车的后面。图片中有几个人、他们在做什么。",
    "这只狗是什么品种。它是什么颜色的。路牌上写着什么字。请用一个词回答问题。中间的人拿着一把雨伞。",
    "视觉标记是图像的一个小块、语言模型在这里读取它。问题需要的标记会被保留、其余的会被删除。",
)


def train_tokenizer(vocab: int, added: Sequence[str] = (IMAGE_TOKEN, PAD_TOKEN)) -> Tokenizer:
    """A byte-fallback BPE tokenizer in Llama's order: specials, bytes, characters, merges, and those that are
    ``added``; of a vocabulary of 10 more than the merges leave."""
    prefix = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    room = vocab - UNUSED_IDS - 2
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=True)
    # The trainer's own limit_alphabet picks among equally frequent characters by hash order, anew in every run.
    frequency = Counter(character for line in CORPUS for character in line if character != " ")
    ranked = sorted(frequency, key=lambda character: (-frequency[character], character))
    rare = dict.fromkeys(map(ord, ranked[(room - len(prefix)) // 2 :]), " ")
    trainer = trainers.BpeTrainer(vocab_size=room, special_tokens=prefix, show_progress=False)
    learner.train_from_iterator([line.translate(rare) for line in CORPUS], trainer)
    learned = json.loads(learner.to_str())["model"]

    # Rebuilt, because training makes the bytes special: they would match "<0x41>" in a prompt, never decode.
    tokenizer = Tokenizer(
        models.BPE(
            vocab=learned["vocab"],
            merges=[(left, right) for left, right in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", BOS_ID)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", *added])
    return tokenizer
