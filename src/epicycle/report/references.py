"""The references of what was run; `epicycle cite` prints them."""

REFERENCES = {
    "furuta2024": (
        "H. Furuta, G. Minegishi, Y. Iwasawa, Y. Matsuo. Towards Empirical Interpretation of Internal Circuits and "
        "Properties in Grokked Transformers on Modular Polynomials. TMLR, 2024. arXiv:2402.16726",
        "@article{furuta2024, title={Towards Empirical Interpretation of Internal Circuits and Properties in Grokked "
        "Transformers on Modular Polynomials}, author={Furuta, Hiroki and Minegishi, Gouki and Iwasawa, Yusuke and "
        "Matsuo, Yutaka}, journal={TMLR}, year={2024}, eprint={2402.16726}}",
    ),
    "nanda2023": (
        "N. Nanda, L. Chan, T. Lieberum, J. Smith, J. Steinhardt. Progress measures for grokking via mechanistic "
        "interpretability. ICLR, 2023. arXiv:2301.05217",
        "@inproceedings{nanda2023, title={Progress measures for grokking via mechanistic interpretability}, "
        "author={Nanda, Neel and Chan, Lawrence and Lieberum, Tom and Smith, Jess and Steinhardt, Jacob}, "
        "booktitle={ICLR}, year={2023}, eprint={2301.05217}}",
    ),
    "gromov2023": (
        "A. Gromov. Grokking modular arithmetic. 2023. arXiv:2301.02679",
        "@misc{gromov2023, title={Grokking modular arithmetic}, author={Gromov, Andrey}, year={2023}, "
        "eprint={2301.02679}}",
    ),
    "zhou2024": (
        "T. Zhou, D. Fu, V. Sharan, R. Jia. Pre-trained Large Language Models Use Fourier Features to Compute "
        "Addition. NeurIPS, 2024. arXiv:2406.03445",
        "@inproceedings{zhou2024, title={Pre-trained Large Language Models Use Fourier Features to Compute Addition}, "
        "author={Zhou, Tianyi and Fu, Deqing and Sharan, Vatsal and Jia, Robin}, booktitle={NeurIPS}, year={2024}, "
        "eprint={2406.03445}}",
    ),
    "fu2026": (
        "D. Fu, T. Zhou, M. Belkin, V. Sharan, R. Jia. Convergent Evolution. 2026. arXiv:2604.20817",
        "@misc{fu2026, title={Convergent Evolution}, author={Fu, Deqing and Zhou, Tianyi and Belkin, Mikhail and Sharan, Vatsal and "
        "Jia, Robin}, year={2026}, eprint={2604.20817}}",
    ),
    "kantamneni2025": (
        "S. Kantamneni, M. Tegmark. Language Models Use Trigonometry to Do Addition. 2025. arXiv:2502.00873",
        "@misc{kantamneni2025, title={Language Models Use Trigonometry to Do Addition}, author={Kantamneni, Subhash and Tegmark, Max}, "
        "year={2025}, eprint={2502.00873}}",
    ),
    "westfall1993": (
        "P. H. Westfall, S. S. Young. Resampling-Based Multiple Testing. Wiley, 1993",
        "@book{westfall1993, title={Resampling-Based Multiple Testing}, author={Westfall, Peter H. and Young, S. "
        "Stanley}, publisher={Wiley}, year={1993}}",
    ),
    "epicycle": (
        "The epicycle developers. epicycle: how transformers do arithmetic, in the Fourier basis. 2026",
        "@software{epicycle, title={epicycle: how transformers do arithmetic, in the Fourier basis}, author={{The "
        "epicycle developers}}, year={2026}}",
    ),
}
"""Key -> (text, BibTeX)."""


LANGUAGE = ("epicycle", "zhou2024", "fu2026", "kantamneni2025", "westfall1993")
"""Keys of the references of a run of the language track."""


def references(recipe: str) -> list[str]:
    """Keys of the references of a grok run."""
    return list(dict.fromkeys(["epicycle", "furuta2024", recipe, "nanda2023", "gromov2023", "westfall1993"]))
