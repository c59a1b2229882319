"""The notice on emotion-recognition law that accompanies every model.

Facts with their source, not legal advice. Checked against the text of the Regulation as published on 12 July 2024.
"""

REGULATION = "Regulation (EU) 2024/1689 (AI Act), OJ L, 2024/1689, 12.7.2024"

SOURCE = "https://eur-lex.europa.eu/eli/reg/2024/1689/oj"

NOTICE = (
    "Article 3(39) calls an AI system that identifies or infers emotions or intentions of natural persons on the "
    "basis of their biometric data an emotion recognition system. Faces and voices are such data; a model that "
    "scores them may well be one, whatever the scores are called.",
    "Article 5(1)(f) prohibits placing on the market, putting into service for this purpose, or using AI systems to "
    "infer emotions of a natural person in the areas of workplace and education institutions, except for medical or "
    "safety reasons. It applies from 2 February 2025.",
    "Article 50(3) obliges deployers of an emotion recognition system to inform the natural persons exposed to it "
    "of its operation, and to process their personal data in accordance with data protection law (Regulations (EU) "
    "2016/679 and (EU) 2018/1725, Directive (EU) 2016/680); by Article 50(5) at the latest at the first exposure, "
    "clearly and distinguishably. It applies from 2 August 2026.",
    "Annex III, point 1(c), lists AI systems intended to be used for emotion recognition among the high-risk ones, "
    "with duties of their own.",
    "Article 2(6) leaves out systems and models that are developed and put into service for the sole purpose of "
    "scientific research and development.",
)
"""One fact per entry, with its article."""


def notice_markdown() -> list[str]:
    """The notice as lines of Markdown, without a heading."""
    return [
        f"[{REGULATION}]({SOURCE}) on such systems. These are facts, not legal advice; other law may apply.",
        "",
        *(f"- {fact}" for fact in NOTICE),
    ]
