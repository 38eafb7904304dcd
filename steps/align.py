#!/usr/bin/env python3
"""Say when each word and token of the transcripts was spoken (forced alignment by CTC) and how sure the model is of it;
cut long recordings up by that."""

from egret.alignment.options import AlignOptions
from egret.base.log import log
from egret.base.program import Outcome, Step, main


def run(options: AlignOptions) -> Outcome:
    from egret.alignment.leave import Files
    from egret.alignment.run import Aligner

    aligner = Aligner(options)
    files = Files(options, aligner.lang.spoken)
    with files.open():
        for cut, row in aligner.align():
            files.add(cut, row)
    files.say()
    log.info("%.1f s of speech, %.2f s in the model and %.2f s in alignment", *aligner.seconds)
    return Outcome(files.outputs, files.counts)


STEP = Step(
    name="align",
    version=1,
    options=AlignOptions,
    run=run,
    description=__doc__ or "",
    example="steps/align.py --experiment exp/tdnn_phone --lang data/lang_phone --cuts data/fbank/dev.jsonl "
    "--out exp/tdnn_phone/align --textgrid true",
)

if __name__ == "__main__":
    main(STEP)
