"""Texts for make_text_goldens.py: what tiny vocabularies are trained on, and the hard cases."""

TRAINING = """
A photograph of an astronaut riding a horse on the moon, highly detailed, 35mm film, 4k.
The quick brown fox jumps over the lazy dog; the dog isn't amused, and it doesn't care at all.
An oil painting of a lighthouse in a storm, dramatic lighting, thick brush strokes, in blue and red.
Portrait of an old fisherman with a white beard, soft light, shallow depth of field, by the sea.
They're standing in front of a small wooden house, we've seen it before, I'll paint it, she'd say.
A red apple and three green pears on a wooden table, still life, morning light, 1920s style.
Isometric drawing of a tiny city with trains, trees and a river, pastel colours, no text.
Ein Fuchs springt über den faulen Hund, während die Sonne über den Bergen aufgeht.
Une rue de Paris sous la pluie, des lumières, des cafés, peinture à l'huile, très détaillée.
Un caballo blanco corre por la playa al atardecer, el cielo naranja, fotografía en color.
猫がソファで寝ている。赤い傘を持つ女性の写真。美しい山の風景、夕日、水彩画。
一只猫坐在窗边,阳光照进房间。中国山水画,云雾,松树,高清摄影。
Кошка сидит на окне, за окном идёт снег, зимний вечер, картина маслом.
قطة تجلس على النافذة في المساء. חתול יושב על החלון.
A sign that says "OPEN 24/7", neon, rain; cost: $9.99 (50% off!) & more... #art @home 😀 🚀
wide-angle photo of mountains, trending, sharp focus, ultra-realistic, volumetric light, f/1.8
the cat sat on the mat, the hat, the bat, and the rat ran and ran and then that was that
""".strip()

_JOINED = "a photo of a caf\u0065\u0301, ﬁne ½ cup, Ⅷ stars, ①②③ ㍿ ﷺ Å Å "

# name, text, and how often it is repeated.
CASES = [
    dict(name="empty", text=""),
    dict(name="only a space", text=" "),
    dict(name="only spaces", text=" \t\r\n \u00a0\u2003\u3000 "),
    dict(name="plain", text="A photo of an astronaut riding a horse on the moon"),
    dict(name="spaces around", text="   two  cats \n\n and\ta dog  "),
    dict(name="no-break and wide spaces",
         text="a\u00a0b\u1680c\u2000d\u2007e\u202ff\u205fg"
              "\u3000h\u2028i\u2029j\u0085k\u000bl\u000cm"),
    dict(name="zero-width", text="a\u200bb\u200cc\u200dd\ufeffe\u2060f\u00adg\u180eh"),
    dict(name="zero-width at the ends", text="\u200b\ufeffcat\u200b\ufeff"),
    dict(name="directions", text="\u202ehello\u202c \u200fworld\u200e \u2066x\u2069"),
    dict(name="controls", text="a\u0000b\u0001c\u0007d\u0008e\u001bf\u001fg\u007fh\u0080i\u009fj"),
    dict(name="line ends", text="one\r\ntwo\rthree\nfour\n\rfive\r\n\u0301six"),
    dict(name="contractions",
         text="It's they're we've I'm you'll she'd can't 'tis o'clock rock'n'roll IT'S THEY'RE"),
    dict(name="curly quotes", text="it’s “quoted” ‘single’ «guillemets» don’t"),
    dict(name="apostrophes alone", text="' '' 's 'S s' ''s '''t 'x 're're 'll'd"),
    dict(name="digits",
         text="1 12 123 4567 3.14159 1,000,000 2nd "
              "4k 1920x1080 f/1.8 ½ ² Ⅳ ٣ ३ ๓ ௩"),
    dict(name="punctuation", text="!?.,;:-–—…()[]{}<>/\\|@#$%^&*_+=~`\"'!!! ?!?! ((a:1.2)) -- __"),
    dict(name="HTML entities", text="&lt;b&gt;bold&lt;/b&gt; &amp;amp; &#39;x&#39; &nbsp; &euro;"),
    dict(name="HTML", text="<b>bold</b><br/> <img src=\"x\"> <!-- c --> </s"),
    dict(name="capitals", text="ÀÉÎÕÜ ĞİIıŞ ẞß ΑΒΓΣΣ ΟΔΥΣΣΕΥΣ ЖЩЪ ՀԱՅ ᏣᎳᎩ Ǆǅǆ ꙀꚀ 𐐀𐐨 Ａｂ Ⅷⅷ K Å Ω"),
    dict(name="composed and not",
         text="caf\u00e9 cafe\u0301 \u1e69 s\u0323\u0307 "
              "s\u0307\u0323 \u212b A\u030a \u1100\u1161\u11a8 \uac01"),
    dict(name="combining marks",
         text="Z̸̡͓̼a̵͔͂l̶̘̈́g̷̯̑o̸͎͝ "
              "e\u0301\u0301\u0301 \u0301alone o\u20dd"),
    dict(name="compatibility", text="ﬁ ﬀ ½ ¼ ① ㎏ ㍿ ﷺ ｶﾞ ガ ℃ № ™ ª º ⅷ 𝒜𝔅ℂ 🄰 ︙ ﹪ ＡＢＣ１２３ ｱｲｳ"),
    dict(name="compatibility and marks", text="ﬁ\u0301 ½\u0302 ①\u20dd ª\u0300x ²\u0301 ｶ\u0301"),
    dict(name="CJK", text="一只猫坐在窗边,阳光照进房间。猫がソファで寝ている。고양이가 창가에 앉아 있다"),
    dict(name="rare CJK", text="𠮷野家 𪜈 㐀 豈 \uf900 ⼀ ⺀ 々〆〇 ゝヾ ㊙"),
    dict(name="Arabic", text="قطة تجلس على النافذة ﻻ ﷲ لَا إِلَٰهَ ـــ ٠١٢٣ ،؛؟"),
    dict(name="Hebrew", text="חתול יושב על החלון שָׁלוֹם ﬡ יִ"),
    dict(name="Indic", text="बिल्ली खिड़की पर बैठी है क्षत्रिय ക്ഷ தமிழ் బిల్లి ਬਿੱਲੀ ক্ষ"),
    dict(name="Thai and Khmer", text="แมวนั่งอยู่ที่หน้าต่าง ឆ្មាអង្គុយ ແມວ ကြောင်"),
    dict(name="emoji", text="😀🚀 ❤️ ❤ ☺️ 👍🏽 👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇯🇵 1️⃣ #️⃣ ©️ 🫠"),
    dict(name="emoji between letters", text="cat😀dog👩‍🚀horse🇩🇪x❤️y"),
    dict(name="emoji broken", text="\u200d👩\u200d \ufe0f x\ufe0f🏽 \U0001f1e9 \U000e0067\U000e007f"),
    dict(name="private and unassigned",
         text="\ue000 \uf8ff \U000f0000 \U0010ffff "
              "\ufffe \uffff \u0378 \ufffd"),
    dict(name="special tokens",
         text="a <|startoftext|> b<|endoftext|>c "
              "<|STARTOFTEXT|> <|endoftext| >"),
    dict(name="special tokens of T5",
         text="a </s> b<unk>c <pad> x <extra_id_0>  y "
              "<extra_id_19>z <extra_id_99> <sep> a<sep>b"),
    dict(name="special tokens alone", text="<|endoftext|>"),
    dict(name="special tokens and spaces",
         text="  </s>  </s><pad>   "
              "<extra_id_1><extra_id_2>  cat  "),
    dict(name="the unigram space", text="a\u2581b \u2581\u2581c \u2581 d\u2581"),
    dict(name="the word end", text="cat</w> </w>dog Ġ Ċ ĠĠx"),
    dict(name="one long word", text="antidisestablishmentarianism" * 12),
    dict(name="one letter", text="a", repeat=1024),
    dict(name="prompt language",
         text="(masterpiece:1.2), [bad|good], {a|b}, "
              "<lora:x:0.8>, BREAK, a::2 --ar 16:9"),
    dict(name="code", text="for (int i = 0; i < n; ++i) { x[i] += 1e-5f; }  // ok"),
    dict(name="address", text="https://example.com/a?b=c&d=%20#e user@example.org C:\\temp\\x.png"),
    dict(name="long words", text="a photograph of mountains ", repeat=390),
    dict(name="long mixture", text=_JOINED, repeat=120),
    dict(name="long CJK", text="一只猫坐在窗边,阳光照进房间。", repeat=220),
    dict(name="long emoji", text="👩‍🚀❤️🇩🇪", repeat=300),
    dict(name="long unknown", text="ꙮ𓀀", repeat=1400),
    dict(name="long spaces", text=" \u3000\t", repeat=2000),
    dict(name="long marks", text="e\u0301\u0323", repeat=2000),
    dict(name="long punctuation", text="!?#", repeat=3400),
]
assert all(len(case["text"].encode()) * case.get("repeat", 1) <= 10_240 for case in CASES)
