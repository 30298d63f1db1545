"""The names of the sample's people."""

# Spellings of names that an e-mail address writes otherwise.
ASCII = {
    "Zoë": "Zoe", "José": "Jose", "Søren": "Soren", "Łukasz": "Lukasz", "Ngọc": "Ngoc",
    "Çağla": "Cagla", "美咲": "Misaki", "Юлия": "Yuliya", "Ελένη": "Eleni", "نور": "Noor",
    "Müller": "Mueller", "Núñez": "Nunez", "Gößling": "Goessling", "Dvořák": "Dvorak",
    "Ó Briain": "OBriain", "Åkesson": "Akesson", "Nguyễn": "Nguyen", "田中": "Tanaka",
    "Жукова": "Zhukova", "Şahin": "Sahin",
}  # fmt: skip
FIRST_NAMES = (
    "Zoë José Søren Łukasz Ngọc Çağla 美咲 Юлия Ελένη نور Ada Amir Anouk Bram Chidi Clara Dalia "
    "Edgar Elif Farah Gita Hugo Ines Ivo Jamal Kaito Kofi Lena Lior Mabel Maya Nia Omar Otis Priya "
    "Quinn Rosa Ruben Sana Tariq Uma Vera Wanda Xenia"
).split()
LAST_NAMES = [
    *"Müller Núñez Gößling Dvořák Åkesson Nguyễn 田中 Жукова Şahin".split(),
    "Ó Briain",
    *"Abara Baker Castillo Dawson Eriksen Fischer Grant Haddad Ito Jansen Kaplan Larsen Moreau "
    "Nakamura Okafor Patel Quigley Rossi Silva Takeda Ueda Vargas Weber Xu Yilmaz Zhang Adler Bose "
    "Cohen Diallo Evans Ferrari Gupta Horvat".split(),
]
NAME_COUNT = len(FIRST_NAMES) * 26 * 26 * len(LAST_NAMES)
"""Number of full names, each with two initials."""
