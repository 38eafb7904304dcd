"""What is taken for the same before texts are compared."""

import pytest

from egret.base.errors import UsageError
from egret.scoring.writing import Writing


@pytest.mark.parametrize(
    ("folds", "text", "words"),
    [
        ((), "ＡＢ　３", ["ＡＢ", "３"]),
        (("fullwidth",), "ＡＢ　３，", ["AB", "3,"]),
        (("numbers",), "有 25 个 ３", ["有", "二十五", "个", "三"]),
        (("erhua",), "玩儿 女儿 一点 儿 儿子", ["玩", "女儿", "一点", "儿子"]),
        (("erhua",), "新生儿 混血儿 小儿 早产儿 小儿麻痹", ["新生儿", "混血儿", "小儿", "早产儿", "小儿麻痹"]),
        (("erhua",), "新 生 儿 和 幸 运 儿", ["新", "生", "儿", "和", "幸", "运", "儿"]),
        (("erhua",), "学生儿 发小儿 从小儿 小孩儿 唱儿歌 儿女", ["学生", "发小", "从小", "小孩", "唱儿歌", "儿女"]),
        (("erhua",), "一 点 儿 水 和 女 儿", ["一", "点", "水", "和", "女", "儿"]),
    ],
)
def test_what_is_folded_is_no_difference(folds, text, words):
    assert Writing("plain", folds).words(text) == words


def test_what_the_normaliser_does_itself_is_not_asked_for_besides():
    with pytest.raises(UsageError, match="--fold numbers: the normaliser 'mandarin' sees to that itself"):
        Writing("mandarin", ("numbers",))
