"""Chat templates written for tests, each in the manner of a published checkpoint's.

`MANNERS` has, by name, the family and the template. They differ in what published ones differ in:
order of clips, pictures and texts, white space that is taken off, thinking that is left out of
earlier answers, and what is around clips, which a turn of text alone does not have.
"""

from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE

ASK = "{% if add_generation_prompt %}{{ 'OPEN' }}{% endif %}"
# Clips and pictures where they stand, or before all texts.
IN_ORDER = (
    "{% for part in message.content %}{% if part.type == 'video' %}{{ 'VIDEO' }}"
    "{% elif part.type == 'image' %}{{ 'PICTURE' }}{% else %}{{ WORDS }}{% endif %}{% endfor %}"
)
MEDIA_FIRST = (
    "{% for kind, mark in [('image', 'PICTURE'), ('video', 'VIDEO')] %}"
    "{% for part in message.content if part.type == kind %}{{ mark }}{% endfor %}{% endfor %}"
    "{% for part in message.content if part.type == 'text' %}{{ WORDS }}{% endfor %}"
)
# What is said before an answer: nothing, or a thought where no question follows.
LAST_THINKS = "{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"


def chatml(content: str, ask: str = "<|im_start|>assistant\n", first: str = "") -> str:
    """Turns between ChatML's tokens.

    Args:
        content: Of every turn.
        ask: What asks for an answer.
        first: Before all turns.
    """
    return (
        f"{{{{ {first!r} }}}}{{% for message in messages %}}"
        "{{ '<|im_start|>' + message.role + '\n' }}" + content + "{{ '<|im_end|>\n' }}{% endfor %}"
    ) + ASK.replace("OPEN", ask)


def filled(content: str, video: str, picture: str, text: str = "part.text") -> str:
    """`IN_ORDER` or `MEDIA_FIRST` with what is written."""
    return content.replace("VIDEO", video).replace("PICTURE", picture).replace("WORDS", text)


QWEN = (
    "<|vision_start|><|video_pad|><|vision_end|>",
    "<|vision_start|><|image_pad|><|vision_end|>",
)

# Answers lose their thinking; a macro writes the content, for its outer white space goes too.
THINKING = (
    "{% macro content_of(message) %}" + filled(IN_ORDER, *QWEN) + "{% endmacro %}"
    "{% for message in messages %}{% set said = content_of(message)STRIP %}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role == 'assistant' %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}" + LAST_THINKS + "{% endif %}"
    "{{ said + '<|im_end|>\n' }}{% endfor %}"
    + ASK.replace("OPEN", "<|im_start|>assistant\n<think>\n")
)  # fmt: skip
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% set answer = message.role == 'assistant' %}"
    "{{ '<|turn>' + ('model' if answer else message.role) + '\n' }}"
    + filled(IN_ORDER, "\n\n<|video|>\n\n", "\n\n<|image|>\n\n",
             "part.text.split('<channel|>')[-1] | trim")
    + "{{ '<turn|>\n' }}{% endfor %}"
    + ASK.replace("OPEN", "<|turn>model\n<|channel>thought\n<channel|>")
)  # fmt: skip
GLM = ("<|begin_of_video|><|video|><|end_of_video|>", "<|begin_of_image|><|image|><|end_of_image|>")
# Only answers lose their white space, and there is no token behind them.
GLM_THINKING = (
    "[gMASK]<sop>{% for message in messages %}{% if message.role == 'user' %}{{ '<|user|>\n' }}"
    + filled(IN_ORDER, *GLM)
    + "{% else %}{{ '<|assistant|>\n<think></think>\n' }}"
    "{{ message.content[0].text.split('</think>')[-1].strip() }}{% endif %}{% endfor %}"
    + ASK.replace("OPEN", "<|assistant|>")
)
# Takes what the assistant says for a text, and writes the list out.
GLM_PLAIN = (
    "[gMASK]<sop>{% for message in messages %}{{ '<|' + message.role + '|>\n' }}"
    "{% if message.role == 'assistant' or message.content is string %}{{ message.content }}"
    "{% else %}" + filled(IN_ORDER, *GLM) + "{% endif %}{% endfor %}"
    + ASK.replace("OPEN", "<|assistant|>\n")
)  # fmt: skip
LLAMA = (
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nLook well.<|eot_id|>' }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' }}"
    + filled(MEDIA_FIRST, "<|video|>", "<|image|>", "part.text | trim")
    + "{{ '<|eot_id|>' }}{% endfor %}"
    + ASK.replace("OPEN", "<|start_header_id|>assistant<|end_header_id|>\n\n")
)
LINES = ("<video>\n", "<image>\n")
MISTRAL = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ '[INST] ' }}"
    + filled(MEDIA_FIRST, *LINES)
    + "{{ ' [/INST]' }}{% else %}{{ ' ' + message.content[0].text + '</s>' }}{% endif %}"
    "{% endfor %}"
)
SYSTEM = "<|im_start|>system\nYou see well.<|im_end|>\n"
MANNERS: dict[str, tuple[str, str]] = {
    "gemma": ("gemma4", GEMMA),
    "glm, plain": ("glm4v", GLM_PLAIN),
    "glm, thinking": ("glm46v", GLM_THINKING),
    "internvl, system": (
        "internvl", chatml(filled(IN_ORDER, "<video>\n", "<IMG_CONTEXT>\n"), first=SYSTEM),
    ),
    "llama": ("perception_lm", LLAMA),
    "next, chatml": ("llava_next_video", chatml(filled(MEDIA_FIRST, *LINES))),
    "next, mistral": ("llava_next_video", MISTRAL),
    "onevision, in order": ("llava_onevision", chatml(filled(IN_ORDER, *LINES))),
    "qwen2.5": ("qwen2_5_vl", chatml(filled(IN_ORDER, *QWEN), first=SYSTEM)),
    "qwen3, thinking": ("qwen3_vl", THINKING.replace("STRIP", "")),
    "qwen3.5": ("qwen3_5", THINKING.replace("STRIP", " | trim")),
    # Its processor has one of its own, whatever is written here.
    "smolvlm": ("smolvlm", DEFAULT_CHAT_TEMPLATE),
    "video_llama_3": (
        "video_llama_3",
        chatml(filled(IN_ORDER, "<|video_pad|>\n", "<|image_pad|>\n"), first=SYSTEM),
    ),
}  # fmt: skip
