"""Tables of recordings as spreadsheets and scripts write them are read as they are meant, or refused by line."""

from pathlib import Path

import pytest

from egret.base.errors import EgretError
from egret.corpus.table import Entry, read_table, seconds
from egret.corpus.validate import Utterance


def read(place: Path, text: str | bytes, **options: object) -> list[Entry]:
    path = place / "my.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, **options)  # type: ignore[arg-type]


def said(folder: Path, text: str | bytes, **options: object) -> list[tuple[str, str, str]]:
    """File name, text and speaker of each row."""
    rows = [entry.utterance for entry in read(folder, text, **options)]
    return [(row.audio.name, row.text, row.speaker) for row in rows]


def only(folder: Path, text: str) -> Utterance:
    (entry,) = read(folder, text)
    return entry.utterance


def refusal(folder: Path, text: str | bytes, **options: object) -> str:
    with pytest.raises(EgretError) as caught:
        read(folder, text, **options)
    return str(caught.value)


EXPECTED = [("a.wav", "hello there", "ann"), ("b.wav", "yes", "bob")]


@pytest.mark.parametrize("delimiter", ["\t", ",", ";", "|"])
def test_the_delimiter_is_recognised(tmp_path: Path, delimiter: str):
    text = "path,text,speaker\na.wav,hello there,ann\nb.wav,yes,bob\n".replace(",", delimiter)
    assert said(tmp_path, text) == EXPECTED


def test_columns_come_in_any_order_by_the_names_that_others_use(tmp_path: Path):
    text = "up_votes,Sentence,client_id,Path\n3,hello there,ann,a.wav\n1,yes,bob,b.wav\n"
    assert said(tmp_path, text) == EXPECTED


def test_without_a_header_they_are_path_text_speaker(tmp_path: Path):
    assert said(tmp_path, "a.wav,hello there,ann\nb.wav,yes,bob\n") == EXPECTED


def test_a_first_row_that_is_a_recording_is_no_header(tmp_path: Path):
    (tmp_path / "a.wav").touch()
    assert len(read(tmp_path, "a.wav,text\nb.wav,yes\n")) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_with_or_without_its_mark(tmp_path: Path, encoding: str):
    assert said(tmp_path, "path,text\na.wav,你好\n".encode(encoding)) == [("a.wav", "你好", "")]


def test_windows_line_ends_are_no_part_of_the_text(tmp_path: Path):
    assert said(tmp_path, "path,text,speaker\r\na.wav,hello there,ann\r\n\r\nb.wav,yes,bob\r\n") == EXPECTED


def test_gbk_is_read_where_it_is_expected(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert said(tmp_path, "path,text\na.wav,你好\n".encode("gbk"), fallback="gbk") == [("a.wav", "你好", "")]


def test_bytes_that_are_not_utf8_are_refused_elsewhere(tmp_path: Path):
    assert "my.csv:2: not UTF-8; convert it" in refusal(tmp_path, "path,text\na.wav,café\n".encode("latin-1"))


def test_gbk_that_is_not_expected_is_refused_with_its_option(tmp_path: Path):
    told = refusal(tmp_path, "path,text\na.wav,你好\n".encode("gbk"))
    assert "my.csv:2: not UTF-8; if it is Chinese in GBK, say --encoding gbk (with --lang zh" in told


def test_bytes_that_are_neither_are_refused_by_line(tmp_path: Path):
    assert "my.csv:3: neither UTF-8 nor GBK" in refusal(
        tmp_path, b"path,text\na.wav,x\nb.wav,\xff\xff\n", fallback="gbk"
    )


def test_quoted_fields_hold_delimiters_quotes_and_line_ends(tmp_path: Path):
    text = 'path,text\na.wav,"he said ""yes"", twice"\nb.wav,"two\nlines"\nc.wav,no\n'
    assert [row[1] for row in said(tmp_path, text)] == ['he said "yes", twice', "two\nlines", "no"]


def test_lines_are_counted_through_quoted_line_ends(tmp_path: Path):
    rows = read(tmp_path, 'path,text,start\na.wav,"two\nlines",0\nb.wav,no,later\n')
    assert "my.csv:4: start 'later' is no time" in rows[1].utterance.problem


def test_stray_quotes_in_a_table_with_tabs_are_text(tmp_path: Path):
    text = 'path\ttext\na.wav\t"Hello" she said\nb.wav\t"open\nc.wav\tno\n'
    assert [row[1] for row in said(tmp_path, text)] == ['"Hello" she said', '"open', "no"]


def test_quoted_fields_need_no_header(tmp_path: Path):
    assert said(tmp_path, '"a.wav";"hello there";ann\n"b.wav";yes;bob\n') == EXPECTED


def test_a_quote_that_is_not_closed_is_refused_by_line(tmp_path: Path):
    assert "my.csv: not a table: from line 3 on" in refusal(tmp_path, 'path,text\na.wav,yes\nb.wav,"open\nc.wav,no\n')


def test_a_row_with_a_comma_too_many_is_rejected_by_line(tmp_path: Path):
    rows = read(tmp_path, "path,text\na.wav,yes\nb.wav,yes, please\n")
    assert rows[1].utterance.problem.endswith(
        "my.csv:3: 3 fields where 2 are expected; quote a field that has a delimiter in it"
    )


def test_empty_fields_at_the_end_are_no_fault(tmp_path: Path):
    assert not only(tmp_path, "path,text\na.wav,yes,,\n").problem


def test_an_empty_table_is_refused(tmp_path: Path):
    assert "my.csv: empty; it needs a line `path,text`" in refusal(tmp_path, "\ufeff\n\n")


def test_a_header_alone_is_refused(tmp_path: Path):
    assert "a header and no rows" in refusal(tmp_path, "path,text\n")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path):
    told = refusal(tmp_path, "path,transcrip\na.wav,yes\n")
    assert "lacks a column text; it has path, transcrip (separated by commas); rename the column with" in told


def test_the_column_that_may_be_meant_is_named(tmp_path: Path):
    told = refusal(tmp_path, "file_no,text,number\na.wav,yes,1\n")
    assert "rename the column with the recordings to path (perhaps file_no)" in told


@pytest.mark.parametrize("header", ["路径,文本,说话人", "音频, 转写, 发音人", "\u3000录音\u3000,内容,ｓｐｅａｋｅｒ"])
def test_columns_have_chinese_names(tmp_path: Path, header: str):
    assert said(tmp_path, f"{header}\na.wav,hello there,ann\nb.wav,yes,bob\n") == EXPECTED


@pytest.mark.parametrize("header", ["clip,says", "klang,gesagt,wer,von,bis,mehr", "says,clip"])
def test_a_header_in_other_words_is_no_recording(tmp_path: Path, header: str):
    (tmp_path / "a.wav").touch()
    place = header.split(",").index("clip") if "clip" in header else 0
    row = ["x" * 300] * len(header.split(","))
    row[place] = "a.wav"
    told = refusal(tmp_path, f"{header}\n{','.join(row)}\nb.wav,{','.join(row[1:])}\n")
    assert "my.csv:1: the first line looks like a header" in told and "rename its columns to path, text" in told


def test_a_first_recording_that_is_missing_is_no_header(tmp_path: Path):
    (tmp_path / "b.wav").touch()
    assert said(tmp_path, "a.wav,hello there,ann\nb.wav,yes,bob\n") == EXPECTED


def test_one_column_is_a_wrong_delimiter(tmp_path: Path):
    assert "one column only, 'path:text'" in refusal(tmp_path, "path:text\na.wav:yes\n")


def test_two_columns_for_one_thing_are_refused(tmp_path: Path):
    assert "the columns file and audio both may be the path" in refusal(tmp_path, "file,audio,text\na,b,c\n")


def test_the_plain_name_wins_over_another(tmp_path: Path):
    assert said(tmp_path, "file,path,text\nx,a.wav,yes\n") == [("a.wav", "yes", "")]


def test_too_many_columns_need_a_header(tmp_path: Path):
    assert "6 fields separated by commas and no header" in refusal(tmp_path, "a.wav,b,c,1,2,3\n" * 3)


def test_paths_begin_at_the_table(tmp_path: Path):
    assert only(tmp_path, "path,text\nclips/a.wav,yes\n").audio == tmp_path / "clips/a.wav"


def test_paths_begin_at_a_folder_that_is_given(tmp_path: Path):
    (entry,) = read(tmp_path, "path,text\na.wav,yes\n", folder=tmp_path / "clips")
    assert entry.utterance.audio == tmp_path / "clips/a.wav"


def test_slashes_of_windows_are_turned(tmp_path: Path):
    assert only(tmp_path, "path,text\nclips\\a.wav,yes\n").audio == tmp_path / "clips/a.wav"


def test_ids_are_paths_below_the_folder_of_all(tmp_path: Path):
    rows = read(tmp_path, "path,text\nx/ann/a 1.wav,yes\nx/bob/a 1.wav,no\n")
    assert [row.utterance.id for row in rows] == ["ann-a_1", "bob-a_1"]


def test_a_row_without_a_path_changes_no_ids(tmp_path: Path):
    assert read(tmp_path, "path,text\nx/a.wav,yes\n,no\n")[0].utterance.id == "a"


def test_ids_of_pieces_have_their_times(tmp_path: Path):
    rows = read(tmp_path, "path,text,start,end\na.wav,yes,0,1.25\na.wav,no,1:01.5,\n")
    assert [row.utterance.id for row in rows] == ["a-00000000-00001250", "a-00061500-end"]


def test_an_id_that_is_given_is_taken(tmp_path: Path):
    assert only(tmp_path, "id,path,text\nu7,a.wav,yes\n").id == "u7"


@pytest.mark.parametrize(("text", "value"), [("12.5", 12.5), ("12,5", 12.5), ("1:02:03", 3723), ("0:07.5", 7.5),
                                             ("-1", None), ("nan", None), ("soon", None)])  # fmt: skip
def test_times_are_seconds_or_read_off_a_clock(text: str, value: float | None):
    assert seconds(text) == value


def test_a_piece_that_ends_before_it_starts_is_rejected_by_line(tmp_path: Path):
    problem = only(tmp_path, "path,text,start,end\na.wav,yes,3,2.5\n").problem
    assert problem == f"{tmp_path}/my.csv:2: start 3 s is not before end 2.5 s"


def test_a_row_without_a_path_is_rejected_by_line(tmp_path: Path):
    assert only(tmp_path, "path,text\n,yes\n").problem == f"{tmp_path}/my.csv:2: no path"


def test_syllables_are_kept_beside_the_text(tmp_path: Path):
    assert only(tmp_path, "path,text,pinyin\na.wav,你好,ni3  hao3\n").custom == {"syllables": "ni3 hao3"}


def test_a_part_that_is_asked_for_is_passed_on(tmp_path: Path):
    assert [entry.part for entry in read(tmp_path, "path,text,split\na.wav,yes,dev\nb.wav,no,\n")] == ["dev", ""]
