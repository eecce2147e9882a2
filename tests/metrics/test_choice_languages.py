"""Which option an answer states in other languages than English: a table of cases."""

from __future__ import annotations

import pytest

from pave.metrics import choice_letter
from pave.metrics.choice_languages import in_english

OBJECTS = ["cat", "dog", "red car", "tree"]

# Answer, options, the letter that a careful reader would take down.
CASES = [
    ("All of A, B and C are wrong.", OBJECTS, ""),
    ("None of A, B, C. So D.", OBJECTS, "D"),
    ("–1", ["-1", "1"], "A"),
    ("是狗。", ["猫", "狗"], "B"),
    ("有两只狗", ["一只狗", "两只狗"], "B"),
    ("이것은 개입니다", ["고양이", "개"], "B"),
    ("これは犬です", ["猫", "犬"], "B"),
    ("A或B", OBJECTS, ""),
    ("A和B", OBJECTS, ""),
    ("A、B", OBJECTS, ""),
    ("AかB", OBJECTS, ""),
    ("A 또는 B", OBJECTS, ""),
    ("A oder B", OBJECTS, ""),
    ("Weder A noch B", OBJECTS, ""),
    ("C'est B", OBJECTS, "B"),
    ("A ou B", OBJECTS, ""),
    ("Ni A ni B", OBJECTS, ""),
    ("C'est la réponse B", OBJECTS, "B"),
    ("A o B", OBJECTS, ""),
    ("La respuesta no es A, sino B", OBJECTS, "B"),
    ("Ni A ni B, sino C", OBJECTS, "C"),
    ("A resposta não é A, é B", OBJECTS, "B"),
    ("A или B", OBJECTS, ""),
    ("A أو B", OBJECTS, ""),
    ("A hoặc B", OBJECTS, ""),
    ("A atau B", OBJECTS, ""),
    ("A veya B", OBJECTS, ""),
    ("A lub B", OBJECTS, ""),
    ("A of B", OBJECTS, ""),
    ("A eller B", OBJECTS, ""),
    ("A tai B", OBJECTS, ""),
    ("A ist richtig, B ist falsch", OBJECTS, "A"),
    ("A ist richtig", OBJECTS, "A"),
    ("A ist die richtige Antwort, nicht B", OBJECTS, "A"),
    ("B ist falsch, A ist richtig", OBJECTS, "A"),
    ("Richtig ist A, nicht B.", OBJECTS, "A"),
    ("Ich wähle A, nicht B", OBJECTS, "A"),
    ("Die Antwort ist A, nicht B.", OBJECTS, "A"),
    ("C und D sind falsch, B ist richtig", OBJECTS, "B"),
    ("B scheidet aus. C ist richtig", OBJECTS, "C"),
    ("A est correct, B est faux", OBJECTS, "A"),
    ("B est faux, A est correct", OBJECTS, "A"),
    ("A est la bonne réponse, pas B", OBJECTS, "A"),
    ("Je choisis A, pas B", OBJECTS, "A"),
    ("L'option B est fausse. L'option C est correcte.", OBJECTS, "C"),
    ("B est incorrecte, C est correcte", OBJECTS, "C"),
    ("Ce n'est pas B mais C", OBJECTS, "C"),
    ("A es correcta, B es incorrecta", OBJECTS, "A"),
    ("La opción B es incorrecta; la opción C es correcta", OBJECTS, "C"),
    ("La respuesta correcta es la A, no la B", OBJECTS, "A"),
    ("B es falsa, C es verdadera", OBJECTS, "C"),
    ("La respuesta no es B, sino C", OBJECTS, "C"),
    ("No es B. Es C", OBJECTS, "C"),
    ("No es B sino C", OBJECTS, "C"),
    ("La risposta non è A, ma B", OBJECTS, "B"),
    ("B è sbagliata, C è corretta", OBJECTS, "C"),
    ("A è corretta, B è sbagliata", OBJECTS, "A"),
    ("Non B ma C", OBJECTS, "C"),
    ("B está errada, C está correta", OBJECTS, "C"),
    ("A alternativa A está correta, a B está errada", OBJECTS, "A"),
    ("A resposta é a alternativa C, não B", OBJECTS, "C"),
    ("B неверно, C верно", OBJECTS, "C"),
    ("Вариант B неправильный, правильный — C", OBJECTS, "C"),
    ("A верно, B неверно", OBJECTS, "A"),
    ("Не B, а C", OBJECTS, "C"),
    ("B is fout, C is juist", OBJECTS, "C"),
    ("Niet B maar C", OBJECTS, "C"),
    ("B är fel, C är rätt", OBJECTS, "C"),
    ("Inte B utan C", OBJECTS, "C"),
    ("选A不选B", OBJECTS, "A"),
    ("A选项错误，B选项错误，C选项正确", OBJECTS, "C"),
    ("A和B都不对，所以是C", OBJECTS, "C"),
    ("Bは間違い、Cが正解", OBJECTS, "C"),
    ("Bは誤り、Cが正しい", OBJECTS, "C"),
    ("Bではなく、Cです", OBJECTS, "C"),
    ("Aが正解、Bは間違い", OBJECTS, "A"),
    ("B는 틀리고 C가 맞습니다", OBJECTS, "C"),
    ("B가 아니라 C입니다", OBJECTS, "C"),
    ("정답은 B가 아니라 C입니다", OBJECTS, "C"),
    ("A가 정답이고 B는 틀렸습니다", OBJECTS, "A"),
    ("B jest błędna, C jest poprawna", OBJECTS, "C"),
    ("B yanlış, C doğru", OBJECTS, "C"),
    ("B değil C", OBJECTS, "C"),
    ("B salah, C benar", OBJECTS, "C"),
    ("B sai, C đúng", OBJECTS, "C"),
    ("B خطأ، C صحيح", OBJECTS, "C"),
    ("B गलत है, C सही है", OBJECTS, "C"),
    ("答案可能是A或B", OBJECTS, ""),
    ("答案是A和B", OBJECTS, ""),
    ("Die Antwort ist A oder B", OBJECTS, ""),
    ("Ответ: A или B", OBJECTS, ""),
    ("正解はAかB", OBJECTS, ""),
    ("정답은 A 또는 B", OBJECTS, ""),
    ("Die Antwort ist sowohl A als auch B", OBJECTS, ""),
    ("不是猫，是狗", ["猫", "狗"], "B"),
    ("没有猫，有狗", ["猫", "狗"], "B"),
    ("犬ではなく猫です", ["猫", "犬"], "A"),
    ("개가 아니라 고양이입니다", ["고양이", "개"], "A"),
    ("在左边。", ["左边", "右边"], "A"),
    ("是的", ["是", "否"], "A"),
    ("不是的", ["是", "不是"], "B"),
    ("Es ist kein Hund, sondern eine Katze", ["Katze", "Hund"], "A"),
    ("Kein Hund", ["Katze", "Hund"], ""),
    ("Ce n'est pas un chien, c'est un chat", ["chat", "chien"], "A"),
    ("No es un perro sino un gato", ["gato", "perro"], "A"),
    ("Это не собака, а кошка", ["кошка", "собака"], "A"),
    ("第二个选项", OBJECTS, "B"),
    ("Elijo A, no B", OBJECTS, "A"),
    # an article, or an adjective behind it, is no letter
    ("A resposta correta é B", OBJECTS, "B"),
    ("A resposta correta é a B", OBJECTS, "B"),
    ("A helyes válasz: B", OBJECTS, "B"),
]


@pytest.mark.parametrize(("answer", "options", "letter"), CASES)
def test_the_stated_option_is_read_in_other_languages(answer, options, letter):
    assert choice_letter(answer, options) == letter


@pytest.mark.parametrize(
    "text", ["A dog and no cat", "B fell on D", "I correct A. It is B.", "Ein Hund ist falsch"]
)
def test_words_of_english_and_of_options_stay(text):
    assert in_english(text) == text
