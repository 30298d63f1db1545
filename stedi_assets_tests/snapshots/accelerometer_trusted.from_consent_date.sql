SELECT
  "t13"."timestamp",
  "t13"."x",
  "t13"."y",
  "t13"."z",
  "t13"."serialnumber",
  "t13"."user"
FROM (
  SELECT
    *
  FROM (
    SELECT
      "t1"."timestamp",
      "t1"."x",
      "t1"."y",
      "t1"."z",
      "t1"."serialnumber",
      "t1"."person" AS "user"
    FROM "accelerometer_landing" AS "t1"
    WHERE
      "t1"."person" IS NOT NULL
  ) AS "t4"
  UNION ALL
  SELECT
    *
  FROM (
    SELECT
      "t7"."timestamp",
      "t7"."x",
      "t7"."y",
      "t7"."z",
      "t7"."serialnumber",
      "t10"."claimant" AS "user"
    FROM (
      SELECT
        *
      FROM "accelerometer_landing" AS "t1"
      WHERE
        "t1"."person" IS NULL
    ) AS "t7"
    INNER JOIN (
      SELECT
        "t8"."serialnumber" AS "claimed",
        "t8"."email" AS "claimant"
      FROM (
        SELECT
          "t6"."serialnumber",
          MIN("t6"."email") AS "email",
          MAX("t6"."email") AS "other"
        FROM (
          SELECT
            "t2"."serialnumber",
            "t2"."person" AS "email"
          FROM "customer_landing" AS "t2"
          WHERE
            "t2"."serialnumber" IS NOT NULL
        ) AS "t6"
        GROUP BY
          1
      ) AS "t8"
      WHERE
        "t8"."email" = "t8"."other"
    ) AS "t10"
      ON "t7"."serialnumber" = "t10"."claimed"
  ) AS "t11"
) AS "t13"
SEMI JOIN "customer_trusted" AS "t3"
  ON "t13"."user" = "t3"."email"
  AND "t13"."timestamp" >= "t3"."sharewithresearchasofdate"
